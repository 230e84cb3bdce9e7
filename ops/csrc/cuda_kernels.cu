// The device programs on the device.
#include "cuda_kernels.h"

#include <cuda_runtime.h>

#include "device_dispatch.h"

namespace sarigan {
namespace {

template <class Program>
__global__ void __launch_bounds__(256) elements_kernel(const Program program, typename Program::Index count) {
  using Index = typename Program::Index;
  const Index stride = Index(gridDim.x) * blockDim.x;
  for (Index k = Index(blockIdx.x) * blockDim.x + threadIdx.x; k < count; k += stride) program(k);
}

template <class Program>
__global__ void __launch_bounds__(1024) blocks_kernel(const Program program, uint32_t count) {
  extern __shared__ double memory[];
  auto* shared = reinterpret_cast<typename Program::A*>(memory);
  const int thread = threadIdx.x, threads = blockDim.x;
  for (uint32_t block = blockIdx.x; block < count; block += gridDim.x) {
    program.template run<0>(block, thread, threads, shared);
    __syncthreads();
    program.template run<1>(block, thread, threads, shared);
    if constexpr (Program::kPhases > 2) {
      __syncthreads();
      program.template run<2>(block, thread, threads, shared);
    }
    __syncthreads();
  }
}

class Launcher {
 public:
  explicit Launcher(void* cuda_stream) : stream(static_cast<cudaStream_t>(cuda_stream)) {
    int device = 0;
    status = cudaGetDevice(&device);
    if (status == cudaSuccess) status = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  }

  template <class Program>
  void elements(const Program& program, int64_t count) {
    if (status != cudaSuccess) return;
    const int64_t blocks = (count + 255) / 256, most = int64_t(processors) * 64;
    const unsigned grid = unsigned(blocks < most ? blocks : most);
    elements_kernel<<<grid, 256, 0, stream>>>(program, typename Program::Index(count));
    status = cudaGetLastError();
  }

  template <class Program>
  void blocks(const Program& program) {
    if (status != cudaSuccess) return;
    const int64_t count = program.num_blocks(), most = int64_t(processors) * 32;
    const size_t bytes = program.shared_elements() * sizeof(typename Program::A);
    blocks_kernel<<<unsigned(count < most ? count : most), program.num_threads(), bytes, stream>>>(program, uint32_t(count));
    status = cudaGetLastError();
  }

  const char* error() const { return status == cudaSuccess ? nullptr : cudaGetErrorString(status); }

 private:
  cudaStream_t stream;
  cudaError_t status = cudaSuccess;
  int processors = 0;
};

}  // namespace

const char* cuda_bias_act(void* stream, Type type, const BiasActArgs& args, bool derivative) {
  Launcher launcher(stream);
  run_bias_act(launcher, type, args, derivative);
  return launcher.error();
}

const char* cuda_upfirdn2d(void* stream, Type type, const UpfirdnArgs& args) {
  Launcher launcher(stream);
  run_upfirdn2d(launcher, type, args);
  return launcher.error();
}

}  // namespace sarigan
