// signature.hpp: the demand that somebody signed a bundle's manifest.
#pragma once

#include <string>

namespace wrn {

// Checks that the holder of the key in the PEM file `signed_by` signed exactly this manifest. This library has no
// cryptography: it refuses what is not signed, and a signature that it would have to check (WRN_MACHINE).
void check_signature(const std::string &manifest, const std::string &folder, const std::string &signed_by);

}  // namespace wrn
