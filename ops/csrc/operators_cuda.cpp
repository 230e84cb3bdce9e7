// The CUDA side of operators.cpp: the device of the arguments and its current stream.
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>

#include "cuda_kernels.h"
#include "launch.h"

namespace sarigan::launch {
namespace {

template <class Launch>
void on_device(int device, Launch launch) {
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device));
  const char* error = launch(c10::cuda::getCurrentCUDAStream().stream());
  TORCH_CHECK(!error, "native operator on cuda:", device, ": ", error);
}

}  // namespace

const int64_t part_elements = 4096;
const int64_t min_channels = 1;

void prepare_memory(void*, size_t) {}

void bias_act(int device, Type type, const BiasActArgs& args) {
  on_device(device, [&](void* stream) { return cuda_bias_act(stream, type, args, false); });
}

void bias_act_derivative(int device, Type type, const BiasActArgs& args) {
  on_device(device, [&](void* stream) { return cuda_bias_act(stream, type, args, true); });
}

void upfirdn2d(int device, Type type, const UpfirdnArgs& args) {
  on_device(device, [&](void* stream) { return cuda_upfirdn2d(stream, type, args); });
}

}  // namespace sarigan::launch
