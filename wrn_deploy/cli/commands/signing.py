"""The commands that say whom to trust: sign, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wrn_deploy.cli.options import shared as opt
from wrn_deploy.cli.options.declare import option
from wrn_deploy.cli.progress import new_progress

__all__ = ["app"]

app = typer.Typer()


@app.command()
def sign(
    bundle: opt.BundlePath,
    key: Annotated[Path, option("PEM", "Private key on an elliptic curve.")],
    certificate: Annotated[Path | None, option("PEM", "The key's certificate, to include in the signature.")] = None,
    chain: Annotated[list[Path] | None, option("PEM", "Intermediate certificate; repeatable.")] = None,
    password_file: Annotated[Path | None, option("FILE", "File with the password of an encrypted key.")] = None,
) -> None:
    """Sign a bundle with a private key.

    The signature, manifest.sig, covers every file of the bundle. Sign again after a step that changes it.
    """
    from wrn_deploy.bundle import Bundle
    from wrn_deploy.cli.show.tables import print_line
    from wrn_deploy.files.text import read_text
    from wrn_deploy.pipeline.signing.sign import SigningKey, sign_bundle

    password = None if password_file is None else read_text(password_file).rstrip("\n")
    signer = SigningKey(key=key, password=password, certificate=certificate, chain=tuple(chain or ()))
    print_line(f"signed: {sign_bundle(Bundle.open(bundle), signer, new_progress())}")


@app.command()
def verify(
    bundle: opt.BundlePath,
    require_signature: Annotated[
        Path | None,
        option("PEM", "Also check the signature, by the owner of this public key or certificate authority."),
    ] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Check every file of a bundle, and its signature; exit code 3 if anything is wrong.

    Without --require-signature it finds damage, but not that someone has replaced the whole bundle.
    """
    from wrn_deploy.bundle import Bundle
    from wrn_deploy.cli.show.signing import show_verified
    from wrn_deploy.files.trust import Trust
    from wrn_deploy.pipeline.signing.verify import verify_bundle

    trust = None if require_signature is None else Trust(signed_by=require_signature)
    show_verified(verify_bundle(Bundle.open(bundle, trust=trust), new_progress()), as_json=as_json)
