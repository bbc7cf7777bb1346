// profiles.hpp: the optimization profiles of a plan, and which of them runs a batch; as runtime/plan_profile.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace wrn {

// The smallest batch, the one that the profile is tuned for, and the largest.
struct Profile {
  std::int64_t minimum = 0, optimum = 0, maximum = 0;
};

// Of any profile; profiles may leave gaps.
std::int64_t smallest_batch(const std::vector<Profile> &profiles);
std::int64_t largest_batch(const std::vector<Profile> &profiles);

// The index of the profile for a batch: of those that take it, the one tuned for the nearest size. Throws Error.
std::size_t choose_profile(const std::vector<Profile> &profiles, std::int64_t batch);

}  // namespace wrn
