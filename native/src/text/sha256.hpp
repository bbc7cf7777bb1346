// sha256.hpp: FIPS 180-4, with the processor's SHA instructions if it has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace wrn {

class Sha256 {
 public:
  void add(const void *data, std::size_t size);
  std::string hex();  // ends it

 private:
  std::uint32_t state_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                             0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  unsigned char rest_[64];
  std::size_t held_ = 0;
  std::uint64_t total_ = 0;
};

}  // namespace wrn
