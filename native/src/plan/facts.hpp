// facts.hpp: what a manifest says of a TensorRT plan; no TensorRT.
#pragma once

#include <string>
#include <vector>

#include "bundle/manifest.hpp"
#include "plan/profiles.hpp"

namespace wrn {

// Texts are empty if the manifest does not have them.
struct PlanFacts {
  std::string flavor, version, compute_capability, gpu, hardware;
  std::vector<std::string> compute_capabilities;  // that it was built for, as in SM120
  bool stripped = false, version_compatible = false, exclude_lean_runtime = false;
  std::vector<Profile> profiles;
  Tensor input;  // need not be that of the bundle's graphs: plans take pixels by default
};

// Reads the facts of a plan's entry in the manifest; throws Unfit if the batches or the input are not there.
PlanFacts read_plan_facts(const Json &facts);

}  // namespace wrn
