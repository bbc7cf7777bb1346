"""Signs and checks the manifest of a bundle with the OpenSSF's model-signing, which is imported when it is used.

The signature is over the manifest alone, which holds the size and the sha256 of every file. It is a Sigstore bundle in
`manifest.sig`, which `model_signing verify key manifest.json --signature manifest.sig --public_key KEY` checks as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wrn_deploy.errors import DeployError, GateError, missing_package
from wrn_deploy.files.text import read_text
from wrn_deploy.process.scratch import scratch_folder

__all__ = ["SIGNATURE", "check_signature", "make_signature"]

SIGNATURE = "manifest.sig"
MANIFEST = "manifest.json"
CERTIFICATE, PUBLIC_KEY = "-----BEGIN CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----"
PASSWORD_NEEDED = "private key is encrypted"  # noqa: S105 (a part of an error's text)


def make_signature(
    manifest: bytes,
    *,
    key: Path,
    password: str | None = None,
    certificate: Path | None = None,
    chain: tuple[Path, ...] = (),
) -> bytes:
    """The signature of a manifest.

    Args:
        manifest: the exact bytes of the file.
        key: a PEM file with an elliptic curve private key (P-256, P-384 or P-521).
        password: that of an encrypted key, without a certificate.
        certificate: a PEM file with the key's own certificate, which is put into the signature.
        chain: PEM files with the certificates between it and the authority.

    Raises:
        DeployError: the key or a certificate cannot be used.
        MachineError: model-signing is not installed.
    """
    signing = _model_signing("signing").Config()
    try:
        if certificate is None:
            secret = None if password is None else password.encode()  # it wants bytes, whatever its hints say
            config = signing.use_elliptic_key_signer(private_key=key, password=secret)
        else:
            config = signing.use_certificate_signer(
                private_key=key, signing_certificate=certificate, certificate_chain=chain or (certificate,)
            )
        with scratch_folder() as folder:
            (folder / MANIFEST).write_bytes(manifest)
            config.sign(folder / MANIFEST, folder / SIGNATURE)
            return (folder / SIGNATURE).read_bytes()
    except Exception as error:  # its exceptions have no common class below Exception
        if PASSWORD_NEEDED in str(error):
            raise DeployError(f"{key} is encrypted: give its password with --password-file") from error
        raise DeployError(
            f"cannot sign with {key} ({_reason(error)}): expected a PEM file with an elliptic curve private key, as "
            "`openssl ecparam -name prime256v1 -genkey -noout` makes it, and certificates that belong to it"
        ) from error


def check_signature(manifest: bytes, signature: bytes | None, *, signed_by: Path, name: object) -> None:
    """Checks that the holder of a key signed exactly this manifest.

    Args:
        manifest: the exact bytes that are used.
        signature: the bytes of `manifest.sig`; None: there is none.
        signed_by: a PEM file with the public key, or with the certificates of the authorities that are trusted.
        name: the bundle, for errors.

    Raises:
        GateError: the signature is missing, damaged, of another key, or of another manifest.
        DeployError: `signed_by` cannot be used.
        MachineError: model-signing is not installed.
    """
    kind = _kind_of(signed_by)
    if signature is None:
        raise GateError(f"{name} is not signed (no {SIGNATURE}): expected a signature by {signed_by}; do not use it")
    verifying = _model_signing("verifying").Config()
    try:
        if kind == PUBLIC_KEY:
            config = verifying.use_elliptic_key_verifier(public_key=signed_by)
        else:
            config = verifying.use_certificate_verifier(certificate_chain=[signed_by])
    except Exception as error:
        raise DeployError(f"{signed_by} cannot be used ({_reason(error)}): expected an intact PEM file") from error
    # The library reads files: it is given private copies, so that what it checks is what is used.
    with scratch_folder() as folder:
        (folder / MANIFEST).write_bytes(manifest)
        (folder / SIGNATURE).write_bytes(signature)
        try:
            config.verify(folder / MANIFEST, folder / SIGNATURE)
        except Exception as error:
            raise GateError(
                f"{name} has no valid signature by {signed_by} ({_reason(error)}): its manifest was changed after it "
                "was signed, or another key signed it; do not use it; if you changed it yourself, sign it again"
            ) from error


def _kind_of(signed_by: Path) -> str:
    try:
        text = read_text(signed_by)
    except OSError as error:
        raise DeployError(f"{signed_by} cannot be read ({error.strerror}): expected the signer's PEM file") from error
    for kind in (PUBLIC_KEY, CERTIFICATE):
        if kind in text:
            return kind
    raise DeployError(f"{signed_by} contains no public key and no certificate: expected the signer's PEM file")


def _model_signing(module: str) -> Any:
    try:
        import model_signing
    except ModuleNotFoundError as error:
        raise missing_package("model-signing", "sign", "signing a bundle or checking a signature") from error
    return getattr(model_signing, module)


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200].rstrip(".:") or type(error).__name__
