#include "plan/validity.hpp"

#include <algorithm>
#include <charconv>
#include <vector>

#include "text/format.hpp"

namespace wrn {
namespace {

constexpr const char *kRtx = "tensorrt_rtx", *kOldest = "8.0";
// GPUs that run TensorRT-RTX plans without a target: NVIDIA's TensorRT-RTX documentation, "CPU-Only AOT and
// TensorRT-RTX Engines".
const std::vector<std::string> kDocumented = {"8.0", "8.6", "8.9", "12.0", "12.1"};

// Of "11.4.0.106"; 0 for a part that is no number.
std::vector<int> numbers(const std::string &version) {
  std::vector<int> made;
  for (std::size_t start = 0; start <= version.size();) {
    const std::size_t end = std::min(version.find('.', start), version.size());
    int part = 0;
    const auto read = std::from_chars(version.data() + start, version.data() + end, part);
    made.push_back(read.ptr == version.data() + end ? part : 0);
    start = end + 1;
  }
  return made;
}

// The same version; or a later one, for a version-compatible plan of full TensorRT with its runtime in it.
bool version_fits(const PlanFacts &facts, const std::string &version) {
  if (facts.version == version) return true;
  const bool portable = facts.version_compatible && !facts.exclude_lean_runtime;
  return portable && facts.flavor != kRtx && numbers(facts.version) < numbers(version);
}

// How the GPU differs from the plan's; empty if it does not, or that is unknown.
std::string other_gpu(const PlanFacts &facts, const Gpu &gpu) {
  const std::string here = "here " + gpu.compute_capability + " (" + gpu.name + ")";
  const std::vector<std::string> &targets = facts.compute_capabilities;
  const bool portable = facts.flavor == kRtx && targets != std::vector<std::string>{"CURRENT"};
  if (portable && !targets.empty()) {
    std::vector<std::string> named;  // SM120 is 12.0
    for (const std::string &target : targets)
      if (target.size() > 3) named.push_back(target.substr(2, target.size() - 3) + "." + target.back());
    const bool fits = std::find(named.begin(), named.end(), gpu.compute_capability) != named.end();
    return fits ? "" : "for compute capability " + joined(named) + ", " + here;
  }
  if (portable || facts.hardware == "ampere-plus")
    return numbers(gpu.compute_capability) >= numbers(kOldest) ? "" : "for compute capability 8.0 up, " + here;
  if (facts.compute_capability.empty() || facts.compute_capability == gpu.compute_capability) return "";
  return "compute capability " + facts.compute_capability + " (" + facts.gpu + "), " + here;
}

}  // namespace

std::optional<std::string> plan_mismatch(const PlanFacts &facts, const std::string &flavor, const std::string &version,
                                         const std::optional<Gpu> &gpu, const std::string &remedy) {
  const std::string again = "rebuild it here: `" + remedy + "`";
  if (facts.stripped)
    return "the plan has no weights (it was built with --strip), and nothing here refits it: " + again;
  std::vector<std::string> differences;
  if (facts.flavor != flavor) differences.push_back("for " + facts.flavor + ", here " + flavor);
  if (!version_fits(facts, version))
    differences.push_back(facts.flavor + " " + facts.version + ", here " + version);
  if (gpu) {
    const std::string other = other_gpu(facts, *gpu);
    if (!other.empty()) differences.push_back(other);
  }
  if (differences.empty()) return std::nullopt;
  return "the plan was built elsewhere: " + joined(differences, "; ") + "; " + again;
}

std::string plan_warning(const PlanFacts &facts, const Gpu &gpu) {
  if (facts.flavor == kRtx) {
    const bool documented =
        std::find(kDocumented.begin(), kDocumented.end(), gpu.compute_capability) != kDocumented.end();
    if (!facts.compute_capabilities.empty() || documented) return "";
    return "not known to run on compute capability " + gpu.compute_capability + " (" + gpu.name +
           "): TensorRT-RTX documents " + joined(kDocumented);
  }
  if (!facts.hardware.empty() || facts.gpu.empty() || facts.gpu == gpu.name) return "";
  return "tuned on " + facts.gpu + ", here " + gpu.name + ": it may be slow, or not run";
}

}  // namespace wrn
