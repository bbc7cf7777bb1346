// embedding BUNDLE PRECISION: what `embedding.py` measures of the C library; it says each what it does on a line.
//
// First its start: nanoseconds and resident bytes of each stage. Then, for each line THREADS CALLS UINT8 BATCH that it
// reads, so many calls by so many threads: the nanoseconds of all, and of each call of the first thread.

#include <wrn_runner.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "process.hpp"

namespace {

void check(std::int32_t status) {
  if (status == WRN_OK) return;
  std::fprintf(stderr, "%s\n", wrn_last_error());
  std::exit(1);
}

void stage(const char *name, std::int64_t start) {
  std::printf("%s %lld %lld\n", name, static_cast<long long>(now() - start), resident());
}

struct Caller {
  wrn_runner runner;
  wrn_tensor input{}, output{};
  std::vector<char> images, results;
  std::int64_t batch;
  std::int32_t dtype;

  Caller(wrn_runner opened, bool pixels, std::int64_t count)
      : runner(opened), batch(count), dtype(pixels ? WRN_UINT8 : WRN_FLOAT32) {
    input.size = output.size = sizeof(wrn_tensor);
    check(wrn_input(runner, dtype, &input));
    check(wrn_output(runner, 0, &output));
    images.resize(input.image_bytes * static_cast<std::size_t>(batch));
    results.resize(output.image_bytes * static_cast<std::size_t>(batch));
  }

  void call() {
    const wrn_images from{images.data(), images.size(), batch, dtype};
    const wrn_buffer into{results.data(), results.size()};
    check(wrn_infer(runner, &from, &into, 1));
  }
};

}  // namespace

int main(int count, char **arguments) {
  if (count != 3) return 2;
  stage("program", now());
  wrn_runner runner = 0;
  std::int64_t start = now();
  wrn_open("/no/such/bundle", nullptr, &runner);
  stage("python", start);
  wrn_options options{};
  options.size = sizeof options;
  options.backend = "onnxruntime";
  options.precision = arguments[2];
  options.threads = 1;
  start = now();
  check(wrn_open(arguments[1], &options, &runner));
  stage("opened", start);
  start = now();
  Caller(runner, true, 1).call();
  stage("first", start);
  wrn_description about{};
  about.size = sizeof about;
  for (int call = 0; call < 1000; ++call) check(wrn_describe(runner, &about));
  start = now();
  for (int call = 0; call < 1000; ++call) check(wrn_describe(runner, &about));
  std::printf("crossing %lld %lld\n", static_cast<long long>(now() - start) / 1000, resident());
  std::fflush(stdout);

  int threads = 0, calls = 0, pixels = 0, batch = 0;
  while (std::scanf("%d %d %d %d", &threads, &calls, &pixels, &batch) == 4) {
    std::vector<Caller> callers;
    for (int each = 0; each < threads; ++each) callers.emplace_back(runner, pixels != 0, batch);
    std::vector<long long> samples(static_cast<std::size_t>(calls));
    std::vector<std::thread> others;
    start = now();
    for (int each = 1; each < threads; ++each)
      others.emplace_back([&callers, calls, each] {
        for (int call = 0; call < calls; ++call) callers[static_cast<std::size_t>(each)].call();
      });
    for (auto &sample : samples) {
      const std::int64_t from = now();
      callers[0].call();
      sample = now() - from;
    }
    for (auto &other : others) other.join();
    std::printf("%lld", static_cast<long long>(now() - start));
    for (const long long sample : samples) std::printf(" %lld", sample);
    std::printf("\n");
    std::fflush(stdout);
  }
  check(wrn_close(runner));
}
