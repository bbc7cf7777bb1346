#include "runner/opening.hpp"

#include <optional>
#include <utility>

#include "error.hpp"
#include "plan/library.hpp"
#include "text/format.hpp"

namespace wrn {
namespace {

// Why this machine cannot run a plan, or any plan if the bundle does not have it; nothing if it can.
std::optional<std::string> plan_obstacle(const Bundle &bundle, const Choice &choice) {
  std::optional<Gpu> gpu;
  std::string version;
  PlanLibrary *library = nullptr;
  try {
    library = &plan_library(choice.flavor);
    version = library->version();
  } catch (const Error &error) {
    return error.what();
  }
  gpu = library->find_gpu();
  if (bundle.has(choice.artifact)) {
    const PlanFacts facts = read_plan_facts(bundle.facts(choice.artifact));
    const std::string remedy = "wrn-deploy build-engine BUNDLE --" + choice.precision + " --flavor " + choice.flavor +
                               " --rebuild";
    if (auto mismatch = plan_mismatch(facts, choice.flavor, version, gpu, remedy)) return mismatch;
  }
  if (!gpu) return "no CUDA GPU on this machine";
  return std::nullopt;
}

std::unique_ptr<Engine> open_plan(Bundle &bundle, const Choice &choice, bool host_code) {
  if (const auto obstacle = plan_obstacle(bundle, choice))
    throw Error(WRN_MACHINE, choice.title + " cannot run " + choice.precision + ": " + *obstacle);
  const std::string plan = bundle.load_plan(choice.artifact);
  const PlanFacts facts = read_plan_facts(bundle.facts(choice.artifact));  // it may have changed meanwhile
  return plan_library(choice.flavor).open(plan, facts, bundle.model(), {choice.graphs, host_code});
}

}  // namespace

Opened open_first(Bundle &bundle, const std::vector<Choice> &choices, std::int32_t threads, bool host_code) {
  std::vector<std::string> obstacles;
  std::int32_t status = WRN_MACHINE;
  const bool alone = choices.size() == 1;
  for (const Choice &choice : choices) try {
      if (!choice.flavor.empty()) {
        const auto obstacle = alone ? std::nullopt : plan_obstacle(bundle, choice);
        if (!obstacle) return {choice, open_plan(bundle, choice, host_code)};
        obstacles.push_back(choice.title + " " + choice.precision + ": " + *obstacle);
        continue;
      }
      const std::string graph = bundle.load_graph(choice.artifact);
      return {choice, open_onnxruntime(graph, bundle.model(), threads, bundle.file(choice.artifact))};
    } catch (const Unfit &error) {  // stale or damaged: another one may not be
      if (alone) throw;
      status = WRN_ERROR;
      obstacles.push_back(choice.title + " " + choice.precision + ": " + error.what());
    }
  throw Error(status, "no backend here can run " + bundle.folder() + ": " + joined(obstacles, "; "));
}

}  // namespace wrn
