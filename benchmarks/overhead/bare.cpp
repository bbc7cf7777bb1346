// bare GRAPH CLASSES: ONNX Runtime's C API alone, as a program without wrn_runner would call it. Prints and reads the
// lines of embedding.cpp, on normalised images of 32x32. WRN_RUNNER_ONNXRUNTIME names the library.

#include <dlfcn.h>
#include <onnxruntime_c_api.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "process.hpp"

namespace {

constexpr std::int64_t kPixels = 3 * 32 * 32;
const OrtApi *api = nullptr;

void check(OrtStatus *status) {
  if (status == nullptr) return;
  std::fprintf(stderr, "%s\n", api->GetErrorMessage(status));
  std::exit(1);
}

void stage(const char *name, std::int64_t start) {
  std::printf("%s %lld %lld\n", name, static_cast<long long>(now() - start), resident());
}

struct Session {
  OrtSession *session = nullptr;
  OrtMemoryInfo *memory = nullptr;
  std::int64_t classes;

  Session(OrtEnv *env, const char *graph, std::int64_t count) : classes(count) {
    OrtSessionOptions *options = nullptr;
    check(api->CreateSessionOptions(&options));
    check(api->SetIntraOpNumThreads(options, 1));
    check(api->CreateSession(env, graph, options, &session));
    check(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
    api->ReleaseSessionOptions(options);
  }

  void run(std::vector<float> &images, std::vector<float> &logits, std::int64_t batch) const {
    const std::int64_t from[] = {batch, 3, 32, 32}, to[] = {batch, classes};
    const char *const in[] = {"images"}, *const out[] = {"logits"};
    OrtValue *source = nullptr, *result = nullptr;
    check(api->CreateTensorWithDataAsOrtValue(memory, images.data(), images.size() * sizeof(float), from, 4,
                                              ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &source));
    check(api->CreateTensorWithDataAsOrtValue(memory, logits.data(), logits.size() * sizeof(float), to, 2,
                                              ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &result));
    check(api->Run(session, nullptr, in, &source, 1, out, 1, &result));
    api->ReleaseValue(source);
    api->ReleaseValue(result);
  }
};

}  // namespace

int main(int count, char **arguments) {
  if (count != 3) return 2;
  stage("program", now());
  std::int64_t start = now();
  setenv("ORT_DISABLE_TELEMETRY", "1", 1);
  void *library = dlopen(std::getenv("WRN_RUNNER_ONNXRUNTIME"), RTLD_NOW);
  if (library == nullptr) return 4;
  api = reinterpret_cast<const OrtApiBase *(*)()>(dlsym(library, "OrtGetApiBase"))()->GetApi(17);
  OrtEnv *env = nullptr;
  check(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "bare", &env));
  stage("loaded", start);
  start = now();
  Session session(env, arguments[1], std::atoll(arguments[2]));
  stage("opened", start);
  start = now();
  std::vector<float> images(kPixels), logits(static_cast<std::size_t>(session.classes));
  session.run(images, logits, 1);
  stage("first", start);
  std::printf("crossing 0 %lld\n", resident());
  std::fflush(stdout);
  int threads = 0, calls = 0, pixels = 0, batch = 0;
  while (std::scanf("%d %d %d %d", &threads, &calls, &pixels, &batch) == 4) {
    const auto count = static_cast<std::size_t>(batch);
    std::vector<std::vector<float>> from(static_cast<std::size_t>(threads)), into(from.size());
    for (std::size_t each = 0; each < from.size(); ++each)
      from[each].resize(count * kPixels), into[each].resize(count * static_cast<std::size_t>(session.classes));
    std::vector<std::int64_t> samples(static_cast<std::size_t>(calls));
    std::vector<std::thread> others;
    start = now();
    for (std::size_t each = 1; each < from.size(); ++each)
      others.emplace_back([&, each] {
        for (int call = 0; call < calls; ++call) session.run(from[each], into[each], batch);
      });
    for (auto &sample : samples) {
      const std::int64_t begin = now();
      session.run(from[0], into[0], batch);
      sample = now() - begin;
    }
    for (auto &other : others) other.join();
    std::printf("%lld", static_cast<long long>(now() - start));
    for (const std::int64_t sample : samples) std::printf(" %lld", static_cast<long long>(sample));
    std::printf("\n");
    std::fflush(stdout);
  }
}
