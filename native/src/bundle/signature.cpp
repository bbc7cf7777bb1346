#include "bundle/signature.hpp"

#include <cerrno>
#include <cstdint>

#include "bundle/budget.hpp"
#include "bundle/crypto.hpp"
#include "bundle/files.hpp"
#include "error.hpp"
#include "text/format.hpp"
#include "text/json.hpp"
#include "text/sha256.hpp"

namespace wrn {
namespace {

constexpr const char *kSignature = "manifest.sig";
// The formats of a Sigstore bundle, its envelope (DSSE) and the in-toto statement of OpenSSF's model-signing 1.0.
constexpr const char *kBundle = "application/vnd.dev.sigstore.bundle.v0.3+json";
constexpr const char *kPayload = "application/vnd.in-toto+json";
constexpr const char *kStatement = "https://in-toto.io/Statement/v1";
constexpr const char *kPredicate = "https://model_signing/signature/v1.0";

// Reads the signer's PEM file, which holds a public key.
std::string read_key(const std::string &path) {
  std::string key;
  try {
    key = read_text(open_regular(path), path);
  } catch (const SystemError &error) {
    throw Error(WRN_ERROR, path + " cannot be read (" + reason(error.number()) + "): expected the signer's PEM file");
  }
  if (key.find("-----BEGIN PUBLIC KEY-----") != key.npos) return key;
  if (key.find("-----BEGIN CERTIFICATE-----") == key.npos)
    throw Error(WRN_ERROR, path + " contains no public key and no certificate: expected the signer's PEM file");
  throw Error(WRN_MACHINE, path + " is a certificate, and this library checks signatures only by public keys: give the "
                                  "signer's public key, or use the library of `wrn-deploy embed --python`");
}

std::string read_signature(const std::string &folder, const std::string &signed_by) {
  try {
    return read_text(open_inside(folder, kSignature), join(folder, kSignature));
  } catch (const SystemError &error) {
    if (error.number() != ENOENT) throw;
    throw Error(WRN_GATE, folder + " is not signed (no " + kSignature + "): expected a signature by " + signed_by +
                              "; do not use it");
  }
}

// What is wrong with a signature; its reader turns it into an Error.
struct Fault {
  std::string text;
};

Json parsed(const std::string &text) {
  if (json_depth(text) > read_budget().nesting) throw Fault{"it is nested too deeply"};
  try {
    return Json::parse(text);
  } catch (const JsonError &error) {
    throw Fault{error.text};
  }
}

const Json &member(const Json &record, const char *name) {
  if (record.object() == nullptr || record.object()->count(name) == 0) throw Fault{std::string("it has no ") + name};
  return record.object()->find(name)->second;
}

// The one item of a list.
const Json &only(const Json &list, const char *name) {
  if (list.array() == nullptr || list.array()->size() != 1) throw Fault{std::string("expected one of ") + name};
  return list.array()->front();
}

const std::string &text_of(const Json &record, const char *name) {
  const Json &found = member(record, name);
  if (found.string() == nullptr) throw Fault{std::string(name) + " is not a text"};
  return *found.string();
}

void expect(const Json &record, const char *name, const char *value) {
  if (text_of(record, name) != value) throw Fault{std::string(name) + " is " + quoted(text_of(record, name))};
}

std::string decode_base64(const std::string &text) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string made;
  std::uint32_t held = 0;
  int bits = 0;
  for (const char each : text.substr(0, text.find_last_not_of('=') + 1)) {
    const std::size_t digit = digits.find(each);
    if (digit == digits.npos) throw Fault{"it is not base64"};
    held = (held << 6 | static_cast<std::uint32_t>(digit)) & 0xFFFFFF, bits += 6;
    if (bits >= 8) made += static_cast<char>(static_cast<unsigned char>(held >> (bits -= 8) & 0xFF));
  }
  return made;
}

// Throws a Fault unless `envelope` is a signature, by the key, of a statement about this manifest.
void check_envelope(const std::string &text, const std::string &key, const std::string &manifest,
                    const std::string &signed_by) {
  const Json bundle = parsed(text);
  expect(bundle, "mediaType", kBundle);
  const Json &envelope = member(bundle, "dsseEnvelope");
  expect(envelope, "payloadType", kPayload);
  const std::string payload = decode_base64(text_of(envelope, "payload"));
  const std::string signature = decode_base64(text_of(only(member(envelope, "signatures"), "signatures"), "sig"));
  // What is signed, by the protocol of DSSE 1.0: the type and the payload, each with its length.
  const std::string type = kPayload;
  const std::string encoded =
      "DSSEv1 " + std::to_string(type.size()) + " " + type + " " + std::to_string(payload.size()) + " " + payload;
  const std::string fault = signature_fault(key, encoded, signature, signed_by);
  if (!fault.empty()) throw Fault{fault};
  const Json statement = parsed(payload);
  expect(statement, "_type", kStatement);
  expect(statement, "predicateType", kPredicate);
  const Json &resource = only(member(member(statement, "predicate"), "resources"), "resources");
  expect(resource, "algorithm", "sha256");
  Sha256 digest;
  digest.add(manifest.data(), manifest.size());
  if (text_of(resource, "digest") != digest.hex()) throw Fault{"it is of another manifest"};
}

}  // namespace

void check_signature(const std::string &manifest, const std::string &folder, const std::string &signed_by) {
  const std::string key = read_key(signed_by), signature = read_signature(folder, signed_by);
  try {
    check_envelope(signature, key, manifest, signed_by);
  } catch (const Fault &fault) {
    throw Error(WRN_GATE, folder + " has no valid signature by " + signed_by + " (" + fault.text +
                              "): its manifest was changed after it was signed, or another key signed it; do not use "
                              "it; if you changed it yourself, sign it again");
  }
}

}  // namespace wrn
