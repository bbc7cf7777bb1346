#include "memory.hpp"

#include "error.hpp"

namespace wrn {

void *Buffers::host(std::size_t tensor) {
  if (!host_[tensor]) host_[tensor] = allocate_pinned(capacity_ * tensors_[tensor].image_bytes);
  return host_[tensor].get();
}

CUdeviceptr Buffers::device(std::size_t tensor) {
  if (!device_[tensor]) device_[tensor] = allocate_device(capacity_ * tensors_[tensor].image_bytes);
  return device_[tensor].get();
}

std::vector<CUdeviceptr> Buffers::addresses() {
  std::vector<CUdeviceptr> all;
  for (std::size_t tensor = 0; tensor < tensors_.size(); ++tensor) all.push_back(device(tensor));
  return all;
}

std::shared_ptr<void> LentMemory::lend(std::size_t bytes) {
  const OnGpu current;
  void *made = nullptr;
  WRN_CUDA(cuMemHostAlloc, &made, bytes, 0);
  const std::shared_ptr<LentMemory> self = shared_from_this();
  std::shared_ptr<void> lent(made, [self](void *block) { self->take_back(block); });
  const std::lock_guard<std::mutex> lock(lock_);
  blocks_[reinterpret_cast<std::uintptr_t>(made)] = bytes;
  return lent;
}

bool LentMemory::holds(const void *start, std::size_t bytes) const {
  const std::lock_guard<std::mutex> lock(lock_);
  const auto address = reinterpret_cast<std::uintptr_t>(start);
  auto after = blocks_.upper_bound(address);
  if (after == blocks_.begin()) return false;
  --after;
  return address - after->first <= after->second && bytes <= after->second - (address - after->first);
}

void LentMemory::take_back(void *block) noexcept {
  {
    const std::lock_guard<std::mutex> lock(lock_);
    blocks_.erase(reinterpret_cast<std::uintptr_t>(block));
  }
  try {
    const OnGpu current;
    cuda_driver().cuMemFreeHost(block);
  } catch (const Error &) {  // the GPU is lost, and its memory with it
  }
}

}  // namespace wrn
