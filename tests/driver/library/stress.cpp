// stress BUNDLE BACKEND SECONDS: eight threads that infer from host memory, slots and device memory, open and close the
// same and stale handles, good and bad calls mixed. Prints "ok COUNT refused COUNT odd COUNT"; odd calls did not do
// what the header says. At the end nothing is left on the device.

#include <cuda.h>
#include <wrn_runner.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

extern "C" void standin_counts(long *counts);
extern "C" const char *standin_violations();

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kImage = 3 * 8 * 8, kClasses = 10;

std::atomic<wrn_runner> shared{0};
std::atomic<long> right{0}, refused{0}, odd{0};

void expect(bool fits) { odd += fits ? 0 : 1; }

wrn_runner open(const char *bundle, const char *backend) {
  wrn_options options{};
  options.size = sizeof options;
  options.backend = backend;
  options.contexts = 3;
  wrn_runner runner = 0;
  expect(wrn_open(bundle, &options, &runner) == WRN_OK && runner != 0);
  return runner;
}

// What the engine of the stand-in answers to images that are `value` everywhere.
bool answers(const std::vector<float> &out, std::size_t count, float value) {
  for (std::size_t image = 0; image < count; ++image)
    for (std::size_t at = 0; at < kClasses; ++at) {
      const std::size_t terms = (kImage - at + kClasses - 1) / kClasses;
      if (out[image * kClasses + at] != static_cast<float>(terms) * value) return false;
    }
  return true;
}

void note(std::int32_t status, bool fits) {
  if (status == WRN_OK) {
    ++right;
    expect(fits && *wrn_last_error() == '\0');
  } else {
    ++refused;
    expect(status == WRN_USAGE && *wrn_last_error() != '\0');  // closed by another thread
  }
}

struct OnDevice {
  CUdeviceptr images = 0, out = 0;
  CUstream stream = nullptr;
};

void work(int worker, const char *bundle, const char *backend, CUcontext context, Clock::time_point end) {
  expect(cuCtxPushCurrent(context) == CUDA_SUCCESS);
  OnDevice mine;
  expect(cuMemAlloc(&mine.images, 16 * kImage * sizeof(float)) == CUDA_SUCCESS &&
         cuMemAlloc(&mine.out, 16 * kClasses * sizeof(float)) == CUDA_SUCCESS &&
         cuStreamCreate(&mine.stream, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS);
  const auto value = static_cast<float>(worker + 1);
  for (int round = 0; Clock::now() < end; ++round) {
    const auto count = static_cast<std::size_t>((round * 7 + worker) % 20 + 1);  // more than 16 are split
    const std::vector<float> pixels(count * kImage, value);
    std::vector<float> out(count * kClasses);
    wrn_images images{pixels.data(), pixels.size() * sizeof(float), static_cast<std::int64_t>(count), WRN_FLOAT32};
    const wrn_buffer into{out.data(), out.size() * sizeof(float)};
    const std::int32_t status = wrn_infer(shared, &images, &into, 1);
    note(status, status != WRN_OK || answers(out, count, value));
    images.bytes -= 1;
    expect(wrn_infer(shared, &images, &into, 1) == WRN_USAGE);
    if (round % 3 == worker % 3) {
      const std::size_t some = count % 16 + 1;
      const std::vector<float> sent(some * kImage, value);
      expect(cuMemcpyHtoDAsync(mine.images, sent.data(), sent.size() * sizeof(float), mine.stream) == CUDA_SUCCESS);
      const wrn_images there{reinterpret_cast<void *>(mine.images), sent.size() * sizeof(float),
                             static_cast<std::int64_t>(some), WRN_FLOAT32};
      const wrn_buffer back{reinterpret_cast<void *>(mine.out), some * kClasses * sizeof(float)};
      const std::int32_t queued = wrn_infer_device(shared, &there, &back, 1, mine.stream);
      std::vector<float> got(some * kClasses);
      expect(cuMemcpyDtoHAsync(got.data(), mine.out, got.size() * sizeof(float), mine.stream) == CUDA_SUCCESS &&
             cuStreamSynchronize(mine.stream) == CUDA_SUCCESS);
      note(queued, queued != WRN_OK || answers(got, some, value));
    }
    if (round % 8 == worker) {
      wrn_slot slot{};
      slot.size = sizeof slot;
      if (wrn_slot_open(shared, 2, &slot) == WRN_OK) {
        for (std::size_t at = 0; at < 2 * kImage; ++at) static_cast<float *>(slot.data)[at] = value;
        std::vector<float> two(2 * kClasses);
        const wrn_images lent{slot.data, slot.bytes, 2, WRN_FLOAT32};
        const wrn_buffer result{two.data(), two.size() * sizeof(float)};
        const std::int32_t done = wrn_infer(shared, &lent, &result, 1);
        note(done, done != WRN_OK || answers(two, 2, value));
        expect(wrn_slot_close(slot.id) == WRN_OK && wrn_slot_close(slot.id) == WRN_USAGE);
      }
      const std::int64_t batches[] = {1, 2};
      const std::int32_t warmed = wrn_warmup(shared, batches, 2, 1);
      expect(warmed == WRN_OK || warmed == WRN_USAGE);
    }
    if (worker < 2 && round % 20 == 19) {
      const wrn_runner old = shared.exchange(open(bundle, backend));
      expect(wrn_close(old) == WRN_OK && wrn_close(old) == WRN_USAGE);
    }
  }
  expect(cuMemFree(mine.images) == CUDA_SUCCESS && cuMemFree(mine.out) == CUDA_SUCCESS &&
         cuStreamDestroy(mine.stream) == CUDA_SUCCESS && cuCtxPopCurrent(&context) == CUDA_SUCCESS);
}

}  // namespace

int main(int count, char **arguments) {
  if (count != 4) return 64;
  CUcontext context = nullptr;
  expect(cuInit(0) == CUDA_SUCCESS && cuDevicePrimaryCtxRetain(&context, 0) == CUDA_SUCCESS);
  shared = open(arguments[1], arguments[2]);
  const auto end = Clock::now() + std::chrono::milliseconds(static_cast<long>(1000 * std::atof(arguments[3])));
  std::vector<std::thread> workers;
  for (int worker = 0; worker < 8; ++worker)
    workers.emplace_back(work, worker, arguments[1], arguments[2], context, end);
  for (std::thread &worker : workers) worker.join();
  expect(wrn_close(shared) == WRN_OK);
  long alive[14];  // as Counts of tests/driver/standin.py
  standin_counts(alive);
  for (int at = 4; at < 12; ++at) expect(alive[at] == 0);
  std::fputs(standin_violations(), stdout);
  std::printf("ok %ld refused %ld odd %ld\n", right.load(), refused.load(), odd.load());
  return odd == 0 ? 0 : 1;
}
