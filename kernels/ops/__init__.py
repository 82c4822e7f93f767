"""Operations of a forward pass: the plain twin first, the fast one below it."""
