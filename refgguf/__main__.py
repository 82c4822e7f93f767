"""`python -m refgguf` is the command `refgguf`."""

from refgguf.cli import main

if __name__ == "__main__":
    main()
