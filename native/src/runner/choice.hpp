// choice.hpp: which backend runs a bundle at which precision: what this library has, and names for the rest.
#pragma once

#include <string>

namespace wrn {

struct Choice {
  std::string backend, title, precision, artifact;
};

// What to open for a named backend and precision; empty: not named. Throws Error.
Choice choose(const std::string &folder, const std::string &backend, const std::string &precision, int threads);

}  // namespace wrn
