// memory.hpp: buffers on both sides of the bus for one batch, and pinned memory that hosts write into.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "bundle/manifest.hpp"
#include "cuda.hpp"

namespace wrn {

// Pinned host memory and device memory for each tensor, allocated when first used; addresses stay.
class Buffers {
 public:
  // `tensors`: the input, then the outputs, which must outlive it. `capacity`: the largest number of images.
  Buffers(const std::vector<Tensor> &tensors, std::int64_t capacity)
      : tensors_(tensors), capacity_(static_cast<std::size_t>(capacity)), host_(tensors.size()),
        device_(tensors.size()) {}

  void *host(std::size_t tensor);
  CUdeviceptr device(std::size_t tensor);
  // Of all tensors on the device.
  std::vector<CUdeviceptr> addresses();

 private:
  const std::vector<Tensor> &tensors_;
  std::size_t capacity_;
  std::vector<Owned<void *>> host_;
  std::vector<Owned<CUdeviceptr>> device_;
};

// Pinned memory lent to hosts: a copy to the GPU reads it directly. Any thread may call.
class LentMemory : public std::enable_shared_from_this<LentMemory> {
 public:
  // Freed with its last owner, whenever and on whichever thread that is.
  std::shared_ptr<void> lend(std::size_t bytes);
  // Whether all of a batch lies in a lent block.
  bool holds(const void *start, std::size_t bytes) const;

 private:
  void take_back(void *block) noexcept;

  mutable std::mutex lock_;
  std::map<std::uintptr_t, std::size_t> blocks_;  // address -> bytes
};

}  // namespace wrn
