// stress BUNDLE SECONDS: eight threads that infer, open, describe and close the same and stale handles, good and bad
// calls mixed. Prints "ok COUNT refused COUNT odd COUNT"; odd calls did not do what the header says.

#include <wrn_runner.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

std::atomic<wrn_runner> shared{0};
std::atomic<long> right{0}, refused{0}, odd{0};

void expect(bool fits) { odd += fits ? 0 : 1; }

wrn_runner open(const char *bundle) {
  wrn_options options{};
  options.size = sizeof options;
  options.backend = "onnxruntime";
  options.precision = "fp32";
  options.threads = 1;
  options.contexts = 3;
  wrn_runner runner = 0;
  expect(wrn_open(bundle, &options, &runner) == WRN_OK && runner != 0);
  return runner;
}

void work(int worker, const char *bundle, Clock::time_point end) {
  std::vector<std::uint8_t> pixels(3072 * 3, static_cast<std::uint8_t>(30 * worker));
  std::vector<float> first, out(30);
  for (int round = 0; Clock::now() < end; ++round) {
    wrn_images images{pixels.data(), pixels.size(), 3, WRN_UINT8};
    const wrn_buffer into{out.data(), out.size() * sizeof(float)};
    const std::int32_t status = wrn_infer(shared, &images, &into, 1);
    if (status == WRN_OK) {
      ++right;
      if (first.empty()) first = out;
      expect(std::memcmp(first.data(), out.data(), out.size() * sizeof(float)) == 0 && *wrn_last_error() == '\0');
    } else {
      ++refused;
      expect(status == WRN_USAGE && *wrn_last_error() != '\0');  // closed by another thread
    }
    images.bytes -= 1;
    expect(wrn_infer(shared, &images, &into, 1) == WRN_USAGE);
    wrn_tensor tensor{};
    tensor.size = sizeof tensor;
    const std::int32_t described = wrn_output(shared, 0, &tensor);
    expect(described == WRN_USAGE || (described == WRN_OK && std::strcmp(tensor.name, "logits") == 0));
    if (round % 8 == worker) {
      wrn_slot slot{};
      slot.size = sizeof slot;
      if (wrn_slot_open(shared, 2, &slot) == WRN_OK) {
        std::memset(slot.data, 1, slot.bytes);
        expect(wrn_slot_close(slot.id) == WRN_OK && wrn_slot_close(slot.id) == WRN_USAGE);
      }
      const std::int64_t batches[] = {1, 2};
      const std::int32_t warmed = wrn_warmup(shared, batches, 2, 1);
      expect(warmed == WRN_OK || warmed == WRN_USAGE);
    }
    if (worker < 2 && round % 20 == 19) {
      const wrn_runner old = shared.exchange(open(bundle));
      expect(wrn_close(old) == WRN_OK && wrn_close(old) == WRN_USAGE);
    }
    if (worker == 7 && round % 10 == 0) {
      wrn_runner none = 1;
      expect(wrn_open("/no/such/bundle", nullptr, &none) == WRN_ERROR && none == 0);
    }
  }
}

}  // namespace

int main(int count, char **arguments) {
  if (count != 3) return 64;
  shared = open(arguments[1]);
  const auto end = Clock::now() + std::chrono::milliseconds(static_cast<long>(1000 * std::atof(arguments[2])));
  std::vector<std::thread> workers;
  for (int worker = 0; worker < 8; ++worker) workers.emplace_back(work, worker, arguments[1], end);
  for (std::thread &worker : workers) worker.join();
  expect(wrn_close(shared) == WRN_OK);
  std::printf("ok %ld refused %ld odd %ld\n", right.load(), refused.load(), odd.load());
  return odd == 0 ? 0 : 1;
}
