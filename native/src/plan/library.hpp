// library.hpp: the part that runs TensorRT's plans, a library of its own beside this one; see native/tensorrt.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "bundle/manifest.hpp"
#include "plan/facts.hpp"
#include "plan/validity.hpp"
#include "runner/engine.hpp"

namespace wrn {

struct PlanOptions {
  bool graphs = true;      // whether inferences run as CUDA graphs
  bool host_code = false;  // whether the caller lets TensorRT run code of this machine's processor that the plan holds
};

// One flavour of TensorRT. Both libraries are built together, so C++ passes between them; any thread may call.
class PlanLibrary {
 public:
  virtual ~PlanLibrary() = default;
  // The version of TensorRT, as in "11.4.0.106"; the first call loads it. Throws Error, WRN_MACHINE.
  virtual std::string version() = 0;
  // CUDA's first GPU; nothing: no GPU, or no driver.
  virtual std::optional<Gpu> find_gpu() = 0;
  // Deserializes a plan of `model`. Throws Error.
  virtual std::unique_ptr<Engine> open(
      const std::string &plan, const PlanFacts &facts, const Model &model, const PlanOptions &options) = 0;
};

// What the library exports: its version of wrn-deploy, and a PlanLibrary, which lives as long as the process.
using PlanLibraryVersion = const char *();
using PlanLibraryEntry = void *();

// The library for a flavour, "tensorrt" or "tensorrt_rtx". Throws Error, WRN_MACHINE, if it is not there.
PlanLibrary &plan_library(const std::string &flavor);

}  // namespace wrn
