"""What a bundle needs on its way to another machine or language, as functions: signatures, and the C library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wrn_deploy.api.shared import BundleLike, StrPath, opened, shown

if TYPE_CHECKING:
    from wrn_deploy.embed.package import Embedded
    from wrn_deploy.pipeline.signing.verify import Verified
    from wrn_deploy.progress import Progress

__all__ = ["embed_library", "sign", "verify"]


def sign(
    bundle: BundleLike,
    key: StrPath,
    *,
    password: str | None = None,
    certificate: StrPath | None = None,
    chain: Sequence[StrPath] = (),
    progress: Progress | None = None,
) -> Path:
    """Signs a bundle and returns the path of its signature: `wrn-deploy sign`. Sign again after a step changes it.

    Args:
        bundle: a bundle, or its folder.
        key: a PEM file with a private key on an elliptic curve.
        password: of an encrypted key.
        certificate: a PEM file with the key's certificate, to put into the signature.
        chain: PEM files with the certificates between it and the authority.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        GateError: a file of the bundle is missing, damaged or stale.
        DeployError: the key cannot be used.
        MachineError: model-signing is not installed.

    Example:
        >>> import wrn_deploy
        >>> wrn_deploy.sign("bundle", "private.pem").name
        'manifest.sig'
    """
    from wrn_deploy.pipeline.signing.sign import SigningKey, sign_bundle

    signer = SigningKey(
        key=Path(key),
        password=password,
        certificate=None if certificate is None else Path(certificate),
        chain=tuple(map(Path, chain)),
    )
    return sign_bundle(opened(bundle), signer, shown(progress))


def verify(bundle: StrPath, *, require_signature: StrPath | None = None, progress: Progress | None = None) -> Verified:
    """Checks every file of a bundle, and its signature if one is required: `wrn-deploy verify`.

    Args:
        bundle: its folder.
        require_signature: a PEM file with the public key or authority that must have signed it; None: not checked.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        GateError: a file is missing, damaged or stale, or there is no such signature.
        DeployError: not a bundle, or a damaged manifest.

    Example:
        >>> import wrn_deploy
        >>> wrn_deploy.verify("bundle").model
        'wrn-10-1'
    """
    from wrn_deploy.bundle import Bundle
    from wrn_deploy.files.trust import Trust
    from wrn_deploy.pipeline.signing.verify import verify_bundle

    trust = None if require_signature is None else Trust(signed_by=Path(require_signature))
    return verify_bundle(Bundle.open(Path(bundle), trust=trust), shown(progress))


def embed_library(
    out: StrPath,
    *,
    python: bool = False,
    headers: StrPath | None = None,
    tensorrt: Sequence[StrPath] = (),
    progress: Progress | None = None,
) -> Embedded:
    """Writes the C library with its header, CMake package and example: `wrn-deploy embed`.

    The library in C++ is the installed wheel's, if that has one and neither `headers` nor `tensorrt` is given; else
    it is built.

    Args:
        out: the folder; other files in it stay.
        python: build the library that starts this Python, with every backend; else the one that runs ONNX Runtime.
        headers: the folder of ONNX Runtime's C headers, to build with; None: where the system has them.
        tensorrt: folders with the headers of TensorRT or TensorRT-RTX, to build what runs their plans too.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        UsageError: both `python` and `tensorrt`.
        MachineError: a compiler, headers or a package is missing.

    Example:
        >>> import wrn_deploy
        >>> try:
        ...     files = wrn_deploy.embed_library("native").files
        ... except wrn_deploy.MachineError:
        ...     files = ()  # no compiler or headers here
    """
    from wrn_deploy.embed.package import write_package

    folder, plans = None if headers is None else Path(headers), [Path(each) for each in tensorrt]
    return write_package(Path(out), shown(progress), python=python, headers=folder, tensorrt=plans)
