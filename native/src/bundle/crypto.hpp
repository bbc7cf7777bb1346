// crypto.hpp: checks an ECDSA signature with the system's OpenSSL 3, which is loaded when a signature is demanded.
#pragma once

#include <string>

namespace wrn {

// Why the signature of `data` is not one by the public key in the PEM text `key` (P-256, P-384 or P-521, with the hash
// of its size); empty if it is. Throws WRN_MACHINE without OpenSSL, WRN_ERROR for another key; `name` is its file.
std::string signature_fault(
    const std::string &key, const std::string &data, const std::string &signature, const std::string &name);

}  // namespace wrn
