#include "plan/profiles.hpp"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string>

#include "error.hpp"

namespace wrn {

std::int64_t smallest_batch(const std::vector<Profile> &profiles) {
  std::int64_t smallest = profiles.front().minimum;
  for (const Profile &each : profiles) smallest = std::min(smallest, each.minimum);
  return smallest;
}

std::int64_t largest_batch(const std::vector<Profile> &profiles) {
  std::int64_t largest = profiles.front().maximum;
  for (const Profile &each : profiles) largest = std::max(largest, each.maximum);
  return largest;
}

std::size_t choose_profile(const std::vector<Profile> &profiles, std::int64_t batch) {
  std::optional<std::size_t> best;
  for (std::size_t at = 0; at < profiles.size(); ++at) {
    if (batch < profiles[at].minimum || batch > profiles[at].maximum) continue;
    if (!best || std::abs(profiles[at].optimum - batch) < std::abs(profiles[*best].optimum - batch)) best = at;
  }
  if (best) return *best;
  std::string ranges;
  for (const Profile &each : profiles)
    ranges += (ranges.empty() ? "" : ", ") + std::to_string(each.minimum) + " to " + std::to_string(each.maximum);
  throw Error(WRN_ERROR, "a batch of " + std::to_string(batch) + " is outside the plan's profile" +
                             (profiles.size() > 1 ? "s" : "") + " (" + ranges +
                             "): send another number of images, or build with --profile " +
                             std::to_string(std::min(batch, smallest_batch(profiles))) + ":" + std::to_string(batch) +
                             ":" + std::to_string(std::max(batch, largest_batch(profiles))));
}

}  // namespace wrn
