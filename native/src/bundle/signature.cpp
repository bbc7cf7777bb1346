#include "bundle/signature.hpp"

#include <cerrno>

#include "bundle/files.hpp"
#include "error.hpp"
#include "text/format.hpp"

namespace wrn {

void check_signature(const std::string &, const std::string &folder, const std::string &signed_by) {
  try {
    const std::string key = read_text(open_regular(signed_by), signed_by);
    if (key.find("-----BEGIN PUBLIC KEY-----") == key.npos && key.find("-----BEGIN CERTIFICATE-----") == key.npos)
      throw Error(WRN_ERROR,
                  signed_by + " contains no public key and no certificate: expected the signer's PEM file");
  } catch (const SystemError &error) {
    throw Error(WRN_ERROR,
                signed_by + " cannot be read (" + reason(error.number()) + "): expected the signer's PEM file");
  }
  try {
    open_inside(folder, "manifest.sig");
  } catch (const SystemError &error) {
    if (error.number() != ENOENT) throw;
    throw Error(WRN_GATE, folder + " is not signed (no manifest.sig): expected a signature by " + signed_by +
                              "; do not use it");
  }
  throw Error(WRN_MACHINE,
              "this library cannot check signatures, and one by " + signed_by +
                  " is required: use the library of `wrn-deploy embed --python`, or check the bundle with `wrn-deploy "
                  "verify` and open it without the requirement");
}

}  // namespace wrn
