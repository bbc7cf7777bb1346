// signature.hpp: the demand that somebody signed a bundle's manifest; as wrn_deploy/files/signature.py.
#pragma once

#include <string>

namespace wrn {

// Checks that the holder of the public key in the PEM file `signed_by` signed exactly this manifest. A certificate is
// refused with WRN_MACHINE: chains of certificates are not checked here.
void check_signature(const std::string &manifest, const std::string &folder, const std::string &signed_by);

}  // namespace wrn
