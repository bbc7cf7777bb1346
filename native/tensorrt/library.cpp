// library.cpp: loads TensorRT, or TensorRT-RTX if it is built with its headers, and what this library exports.
#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>

#include "cuda.hpp"
#include "error.hpp"
#include "logger.hpp"
#include "plan.hpp"
#include "plan/library.hpp"

namespace wrn {
namespace {

#define WRN_TEXT(value) #value
#define WRN_NUMBER(value) WRN_TEXT(value)
constexpr const char *kHeaders = WRN_NUMBER(NV_TENSORRT_MAJOR) "." WRN_NUMBER(NV_TENSORRT_MINOR);
#ifdef TRT_MAJOR_RTX
constexpr const char *kTitle = "TensorRT-RTX", *kVariable = "WRN_RUNNER_TENSORRT_RTX";
constexpr const char *kLibrary = "libtensorrt_rtx.so." WRN_NUMBER(NV_TENSORRT_MAJOR);
#else
constexpr const char *kTitle = "TensorRT", *kVariable = "WRN_RUNNER_TENSORRT";
constexpr const char *kLibrary = "libnvinfer.so." WRN_NUMBER(NV_TENSORRT_MAJOR);
#endif

[[noreturn]] void missing(const std::string &why) {
  throw Error(WRN_MACHINE, std::string("cannot load ") + kTitle + " (" + why + "): install " + kTitle + " " + kHeaders +
                               " where the loader finds " + kLibrary + ", or name its file in " + kVariable);
}

// Whether the virtual functions of a version are those of the headers: classes only grow at their end, within a major
// version of TensorRT. TensorRT-RTX has removed some within one (1.5), and takes any number of headers itself.
bool has_same_classes(int major, int minor) {
#ifdef TRT_MAJOR_RTX
  return major == NV_TENSORRT_MAJOR && minor == NV_TENSORRT_MINOR;
#else
  return major == NV_TENSORRT_MAJOR && minor >= NV_TENSORRT_MINOR;
#endif
}

class Loaded final : public PlanLibrary {
 public:
  std::string version() override {
    const std::lock_guard<std::mutex> lock(loading_);
    if (create_ == nullptr) load();
    return version_;
  }

  std::optional<Gpu> find_gpu() override { return wrn::find_gpu(); }

  std::unique_ptr<Engine> open(const std::string &plan, const PlanFacts &facts, const Model &model,
                               const PlanOptions &options) override {
    version();
    logged();  // forgets earlier messages
    const OnGpu current;
    std::unique_ptr<nvinfer1::IRuntime> runtime(
        static_cast<nvinfer1::IRuntime *>(create_(&logger(), NV_TENSORRT_VERSION)));
    if (runtime == nullptr)
      throw Error(WRN_MACHINE, std::string(kTitle) + " cannot start" + logged() + ": look at the GPU with nvidia-smi");
    return std::make_unique<Plan>(std::move(runtime), plan, facts, model, options);
  }

 private:
  using Number = std::int32_t();
  using Create = void *(void *, std::int32_t);

  template <class Function>
  static Function *find(void *library, const char *symbol) {
    Function *found = nullptr;
    *reinterpret_cast<void **>(&found) = dlsym(library, symbol);
    if (found == nullptr) missing(std::string("no ") + symbol + " in it");
    return found;
  }

  // Never unloaded: its threads may run until the process ends.
  void load() {
    const char *named = std::getenv(kVariable);
    void *library = dlopen(named != nullptr && *named != '\0' ? named : kLibrary, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) missing(dlerror());
    const int major = find<Number>(library, "getInferLibMajorVersion")();
    const int minor = find<Number>(library, "getInferLibMinorVersion")();
    const int patch = find<Number>(library, "getInferLibPatchVersion")();
    const int build = find<Number>(library, "getInferLibBuildVersion")();
    const std::string found =
        std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch) + "." + std::to_string(build);
    if (!has_same_classes(major, minor))
      throw Error(WRN_MACHINE, std::string(kTitle) + " " + found + " was found, and libwrn_runner was built with the " +
                                   "headers of " + kHeaders + ": build it again with the headers of " +
                                   std::to_string(major) + "." + std::to_string(minor) +
                                   ", `wrn-deploy embed --tensorrt FOLDER`, or name another " + kLibrary + " in " +
                                   kVariable);
    create_ = find<Create>(library, "createInferRuntime_INTERNAL");
    version_ = found;
  }

  std::mutex loading_;
  Create *create_ = nullptr;
  std::string version_;
};

}  // namespace
}  // namespace wrn

extern "C" {

WRN_API const char *wrn_plan_library_version() { return WRN_VERSION; }

WRN_API void *wrn_plan_library() {
  // Never destroyed: threads of the host may use it as the process ends.
  static wrn::PlanLibrary *const made = new wrn::Loaded;
  return made;
}

}  // extern "C"
