"""Every error that refgguf raises on purpose.

    RefggufError
    ├── GGUFError (ValueError)            .path .offset .field
    │   ├── FileAccessError (OSError)     a file that cannot be opened, or is no regular file
    │   │   └── MissingFileError (FileNotFoundError)   there is no such file
    │   ├── BadMagicError                 not a GGUF file at all
    │   ├── UnsupportedVersionError       a GGUF version that nobody writes (0, 1, > 3)
    │   ├── TruncatedFileError            the file ends before something it announces
    │   ├── LimitExceededError            a size no honest file has
    │   ├── DuplicateKeyError             a metadata key or a tensor name that comes twice
    │   ├── MetadataTypeError             a metadata value of the wrong type
    │   ├── MissingKeyError (KeyError)    a metadata key that is needed and absent
    │   ├── TensorLayoutError             overlap, bounds, alignment, dimensions
    │   └── SplitFileError                a part of a split file is missing or does not fit
    ├── QuantError                        .type .tensor
    │   ├── UnknownQuantError (NotImplementedError)   a tensor type that cannot be decoded
    │   └── QuantLayoutError (ValueError)             bytes that do not fit the type
    ├── TokenizerError (ValueError)       unknown tokenizer, id out of range
    │   └── ChatTemplateError             a chat template that is absent, wrong, or misbehaves
    ├── ModelError
    │   ├── UnknownArchitectureError (NotImplementedError)
    │   ├── HyperParameterError (ValueError)   metadata that contradicts itself or the tensors
    │   ├── MissingTensorError (KeyError)
    │   ├── ShapeMismatchError (ValueError)
    │   ├── TokenRangeError (ValueError)       a token id outside the vocabulary
    │   └── ContextOverflowError (ValueError)  more tokens than the model was made for
    ├── TapError (KeyError)               an unknown tap name; lists the nearest ones
    │   └── HookError (ValueError)        a hook returned something that does not fit
    ├── TraceError (ValueError)           a trace file that cannot be read or written
    ├── CompareError (ValueError)         two things that cannot be compared
    ├── EngineError (RuntimeError)        another engine is missing or cannot run the file
    ├── InputError (ValueError)           a wrong argument or an unreadable prompt
    ├── OutputError (OSError)             a file that cannot be written
    └── ViewerError (RuntimeError)
        ├── NoGLError                     no OpenGL library or driver
        └── NoDisplayError                no screen to open a window on

A message says what is wrong, where, what was expected and what was found, and what to do.
The command line prints it as one line and exits with code 2.
"""

from __future__ import annotations


def shown(name: object, most: int = 80) -> str:
    """Return a name that a file may have made up, fit for a message: one line, no control characters, short."""
    text = str(name)
    text = text if len(text) <= most else f"{text[:most]}…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class RefggufError(Exception):
    """Base of every error that refgguf raises on purpose."""

    def __str__(self) -> str:
        """Return the plain message (KeyError would quote it)."""
        return str(self.args[0]) if self.args else ""


class GGUFError(RefggufError, ValueError):
    """A file that is not a sound GGUF file.

    Args:
        message: what is wrong and what was expected.
        path: the file.
        offset: where in the file, in bytes.
        field: the metadata key or tensor name concerned.
    """

    def __init__(
        self, message: str, *, path: object = None, offset: int | None = None, field: str | None = None
    ):
        where = [shown(path, 4096)] if path is not None else []
        if offset is not None:
            where.append(f"byte {offset}")
        if field is not None:
            where.append(shown(field))
        super().__init__(f"{', '.join(where)}: {message}" if where else message)
        self.path, self.offset, self.field = path, offset, field


class FileAccessError(GGUFError, OSError):
    """The file cannot be opened, or is no regular file."""


class MissingFileError(FileAccessError, FileNotFoundError):
    """There is no such file."""


class BadMagicError(GGUFError):
    """The file does not start with the four bytes GGUF."""


class UnsupportedVersionError(GGUFError):
    """The file has a GGUF version other than 2 or 3."""


class TruncatedFileError(GGUFError):
    """The file ends before something it announces."""


class LimitExceededError(GGUFError):
    """The file announces a size that no honest file has."""


class DuplicateKeyError(GGUFError):
    """A metadata key or a tensor name occurs twice."""


class MetadataTypeError(GGUFError):
    """A metadata value has a type that does not fit its key."""


class MissingKeyError(GGUFError, KeyError):
    """A metadata key is needed and absent."""


class TensorLayoutError(GGUFError):
    """Tensor dimensions, offsets or alignment are impossible."""


class SplitFileError(GGUFError):
    """A part of a split file is missing or does not belong to the others."""


class QuantError(RefggufError):
    """A tensor's bytes cannot be decoded."""

    def __init__(self, message: str, *, type: str | None = None, tensor: str | None = None):
        super().__init__(message)
        self.type, self.tensor = type, tensor


class UnknownQuantError(QuantError, NotImplementedError):
    """The tensor type is unknown or cannot be decoded."""


class QuantLayoutError(QuantError, ValueError):
    """The number of bytes or the row length does not fit the type."""


class TokenizerError(RefggufError, ValueError):
    """An unknown tokenizer, or a token that it does not have."""


class ChatTemplateError(TokenizerError):
    """The file's chat template is absent, not valid, fails, or takes too much."""


class ModelError(RefggufError):
    """The file cannot be run as a model."""


class UnknownArchitectureError(ModelError, NotImplementedError):
    """No architecture of this name is known."""


class HyperParameterError(ModelError, ValueError):
    """The metadata contradicts itself or the tensors."""


class MissingTensorError(ModelError, KeyError):
    """A tensor that the architecture needs is absent."""


class ShapeMismatchError(ModelError, ValueError):
    """A tensor's shape is not what the metadata says."""


class TokenRangeError(ModelError, ValueError):
    """A token id lies outside the vocabulary."""


class ContextOverflowError(ModelError, ValueError):
    """There are more tokens than the model was made for."""


class TapError(RefggufError, KeyError):
    """No tap has this name; the message lists the nearest ones."""


class HookError(TapError, ValueError):
    """A hook returned something that does not fit its tap."""


class TraceError(RefggufError, ValueError):
    """A trace file cannot be read or written."""


class CompareError(RefggufError, ValueError):
    """Two things cannot be compared."""


class EngineError(RefggufError, RuntimeError):
    """Another engine, such as llama.cpp, is missing or cannot run the file."""


class InputError(RefggufError, ValueError):
    """A wrong argument, or a prompt that cannot be read."""


class OutputError(RefggufError, OSError):
    """A file cannot be written."""


class ViewerError(RefggufError, RuntimeError):
    """The picture cannot be drawn."""


class NoGLError(ViewerError):
    """There is no OpenGL library or driver."""


class NoDisplayError(ViewerError):
    """There is no screen to open a window on."""
