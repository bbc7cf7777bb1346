"""Signatures: what a trusted key has signed is opened, and nothing else; real keys, real certificates."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.manifests import edit_manifest
from tests.test_bundle import SPEC, add, make, snapshot
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DamagedFile, DeployError, GateError
from wrn_deploy.files.trust import Trust, trust, trusting
from wrn_deploy.pipeline.signing.sign import SigningKey, sign_bundle
from wrn_deploy.pipeline.signing.verify import verify_bundle
from wrn_deploy.progress import Silent

cryptography = pytest.importorskip("cryptography", reason="model-signing is not installed")
pytest.importorskip("model_signing", reason="model-signing is not installed")
PASSWORD = b"open sesame"


def new_key(folder: Path, name: str, *, password: bytes | None = None) -> tuple[Path, Path]:
    """A private and a public key on P-256, as PEM files."""
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    hidden = pem.NoEncryption() if password is None else pem.BestAvailableEncryption(password)
    private.write_bytes(key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, hidden))
    public.write_bytes(key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def signed(tmp_path: Path) -> tuple[Path, Path]:
    """A bundle that a key has signed, and the public key."""
    bundle = make(tmp_path / "bundle")
    private, public = new_key(tmp_path, "ours")
    assert sign_bundle(bundle, SigningKey(key=private), Silent()) == bundle.folder / "manifest.sig"
    return bundle.folder, public


def test_a_signed_bundle_is_opened(signed: tuple[Path, Path]) -> None:
    folder, public = signed
    before = snapshot(folder)
    bundle = Bundle.open(folder, trust=Trust(signed_by=public))
    verified = verify_bundle(bundle, Silent())
    assert (verified.files, verified.signed_by, verified.unlisted) == (4, str(public), ())
    assert snapshot(folder) == before


def test_without_the_demand_no_signature_is_looked_at(signed: tuple[Path, Path]) -> None:
    folder, _ = signed
    (folder / "manifest.sig").write_bytes(b"rubbish")
    assert Bundle.open(folder).spec == SPEC


def test_another_key_is_refused(signed: tuple[Path, Path], tmp_path: Path) -> None:
    _, theirs = new_key(tmp_path, "theirs")
    with pytest.raises(GateError, match=r"has no valid signature by .*theirs\.pub"):
        Bundle.open(signed[0], trust=Trust(signed_by=theirs))


def test_a_bundle_that_was_written_anew_after_it_was_signed_is_refused(signed: tuple[Path, Path]) -> None:
    folder, public = signed
    edit_manifest(folder, lambda record: record["model"]["preprocessing"].update(std=[0.047, 0.25, 0.25]))
    assert Bundle.open(folder).spec.preprocessing.std[0] == 0.047, "nothing but the signature can know"
    with pytest.raises(GateError, match="was changed after it was signed"):
        Bundle.open(folder, trust=Trust(signed_by=public))


def test_a_changed_file_is_refused(signed: tuple[Path, Path]) -> None:
    folder, public = signed
    (folder / "child.txt").write_text("THREE")
    with pytest.raises(DamagedFile):
        Bundle.open(folder, trust=Trust(signed_by=public)).find("child")


def test_the_signature_of_another_bundle_is_refused(signed: tuple[Path, Path], tmp_path: Path) -> None:
    folder, public = signed
    other = make(tmp_path / "other")
    with other.transaction() as step:
        add(step, "fourth", "4")
    shutil.copy(folder / "manifest.sig", other.folder)
    with pytest.raises(GateError):
        Bundle.open(other.folder, trust=Trust(signed_by=public))


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-200])


def _link(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


@pytest.mark.parametrize(
    "damage",
    [Path.unlink, _cut, _link, lambda file: file.write_bytes(b""), lambda file: file.write_text("{}"),
     lambda file: file.write_text("[" * 100_000), lambda file: file.write_bytes(b"\xff\xfe")],
)  # fmt: skip
def test_without_a_whole_signature_it_is_refused(signed: tuple[Path, Path], damage: object) -> None:
    folder, public = signed
    damage(folder / "manifest.sig")  # type: ignore[operator]
    with pytest.raises((GateError, DamagedFile), match=r"signed|signature|link"):
        Bundle.open(folder, trust=Trust(signed_by=public))


def test_200_changed_bits_of_a_signature_are_refused_or_mean_the_same(signed: tuple[Path, Path]) -> None:
    folder, public = signed
    file = folder / "manifest.sig"
    whole = file.read_bytes()
    for index in range(200):
        place = index * len(whole) // 200
        changed = bytearray(whole)
        changed[place] ^= 1 << index % 8
        file.write_bytes(changed)
        try:
            Bundle.open(folder, trust=Trust(signed_by=public))
        except GateError:
            continue
        envelopes = [json.loads(each)["dsseEnvelope"]["payload"] for each in (whole, changed)]
        assert envelopes[0] == envelopes[1], f"bit {index % 8} of byte {place}: another statement was accepted"


def test_a_later_step_needs_a_new_signature(signed: tuple[Path, Path], tmp_path: Path) -> None:
    folder, public = signed
    with Bundle.open(folder).transaction() as step:
        add(step, "fourth", "4")
    with pytest.raises(GateError, match="if you changed it yourself, sign it again"):
        Bundle.open(folder, trust=Trust(signed_by=public))
    sign_bundle(Bundle.open(folder), SigningKey(key=tmp_path / "ours.pem"), Silent())
    assert len(Bundle.open(folder, trust=Trust(signed_by=public)).artifacts) == 4


def test_a_damaged_bundle_is_not_signed(tmp_path: Path) -> None:
    bundle = make(tmp_path / "bundle")
    private, _ = new_key(tmp_path, "ours")
    (bundle.folder / "child.txt").write_text("THREE")
    (bundle.folder / "parent.txt").unlink()
    with pytest.raises(GateError, match=r"(?s)is not intact:.*child\.txt is not the file.*parent\.txt is missing"):
        sign_bundle(bundle, SigningKey(key=private), Silent())
    assert not (bundle.folder / "manifest.sig").exists()


def test_what_another_process_has_added_meanwhile_is_checked_too(tmp_path: Path) -> None:
    opened = make(tmp_path / "bundle")
    private, _ = new_key(tmp_path, "ours")
    with Bundle.open(opened.folder).transaction() as step:
        add(step, "fourth", "4")
    (opened.folder / "fourth.txt").write_text("5")
    with pytest.raises(GateError, match=r"fourth\.txt is not the file"):
        sign_bundle(opened, SigningKey(key=private), Silent())
    assert not (opened.folder / "manifest.sig").exists()


def test_an_encrypted_key_needs_its_password(tmp_path: Path) -> None:
    bundle = make(tmp_path / "bundle")
    private, public = new_key(tmp_path, "ours", password=PASSWORD)
    with pytest.raises(DeployError, match="--password-file"):
        sign_bundle(bundle, SigningKey(key=private), Silent())
    with pytest.raises(DeployError, match="cannot sign"):
        sign_bundle(bundle, SigningKey(key=private, password="wrong"), Silent())
    sign_bundle(bundle, SigningKey(key=private, password=PASSWORD.decode()), Silent())
    Bundle.open(bundle.folder, trust=Trust(signed_by=public))


@pytest.mark.parametrize("text", ["", "rubbish", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_a_key_that_cannot_be_used_is_named(signed: tuple[Path, Path], tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.pub").write_text(text)
    with pytest.raises(DeployError, match=r"bad\.pub (contains no public key|cannot be used)"):
        Bundle.open(signed[0], trust=Trust(signed_by=tmp_path / "bad.pub"))
    with pytest.raises(DeployError, match=r"missing\.pub cannot be read"):
        Bundle.open(signed[0], trust=Trust(signed_by=tmp_path / "missing.pub"))
    with pytest.raises(DeployError, match=r"bad\.pub"):
        sign_bundle(Bundle.open(signed[0]), SigningKey(key=tmp_path / "bad.pub"), Silent())


def new_authority(folder: Path, name: str) -> tuple[Path, Path, Path]:
    """An authority's certificate, and a key with a certificate of that authority."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives import serialization as pem

    def certificate(owner: str, public: object, *, ca: bool) -> Path:
        issuer_key = pem.load_pem_private_key((folder / f"{name}.pem").read_bytes(), None)
        now = dt.datetime.now(dt.UTC)
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
             "decipher_only"), False
        )  # fmt: skip
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, owner)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .public_key(public)  # type: ignore[arg-type]
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **usage), critical=True
            )
            .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .sign(issuer_key, hashes.SHA256())  # type: ignore[arg-type]
        )
        file = folder / f"{owner}.crt"
        file.write_bytes(made.public_bytes(pem.Encoding.PEM))
        return file

    _, authority_public = new_key(folder, name)
    key, public = new_key(folder, f"{name}-signer")
    root = certificate(name, pem.load_pem_public_key(authority_public.read_bytes()), ca=True)
    return root, key, certificate(f"{name}-signer", pem.load_pem_public_key(public.read_bytes()), ca=False)


def test_a_certificate_is_checked_up_to_its_authority(tmp_path: Path) -> None:
    bundle = make(tmp_path / "bundle")
    root, key, certificate = new_authority(tmp_path, "authority")
    other, _, _ = new_authority(tmp_path, "other")
    sign_bundle(bundle, SigningKey(key=key, certificate=certificate), Silent())
    assert Bundle.open(bundle.folder, trust=Trust(signed_by=root)).spec == SPEC
    with pytest.raises(GateError, match=r"other\.crt"):
        Bundle.open(bundle.folder, trust=Trust(signed_by=other))


def test_the_demand_of_a_process_reaches_every_bundle_and_its_children(
    signed: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, public = signed
    unsigned = make(tmp_path / "unsigned")
    code = "import sys; from wrn_deploy.bundle import Bundle; Bundle.open(sys.argv[1])"
    with trusting(Trust(signed_by=public)):
        Bundle.open(folder)
        with pytest.raises(GateError, match=r"is not signed \(no manifest.sig\)"):
            Bundle.open(unsigned.folder)

        child = subprocess.run([sys.executable, "-c", code, str(unsigned.folder)], capture_output=True, check=False)
        assert b"is not signed" in child.stderr
    assert trust() == Trust()
    Bundle.open(unsigned.folder)


def test_model_signings_own_command_agrees(signed: tuple[Path, Path]) -> None:

    folder, public = signed
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(folder / "manifest.json"), "--signature"]
    command += [str(folder / "manifest.sig"), "--public_key", str(public)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    (folder / "manifest.json").write_bytes((folder / "manifest.json").read_bytes() + b" ")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
