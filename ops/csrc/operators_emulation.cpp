// The device programs on the host, index by index: the tests compare them with the definition on a machine without a GPU.
#include <vector>

#include "device_dispatch.h"
#include "launch.h"

namespace sarigan::launch {
namespace {

struct Loop {
  template <class Program>
  void elements(const Program& program, int64_t count) {
    for (int64_t k = 0; k < count; ++k) program(k);
  }

  template <class Program>
  void blocks(const Program& program) {
    for (uint32_t block = 0; block < program.num_blocks(); ++block) {
      // Exactly as large as the kernel's, so that a tool that watches memory sees what the device would not.
      std::vector<typename Program::A> shared(program.shared_elements());
      phases<Program, 0>(program, block, shared.data());
    }
  }

  template <class Program, int Phase>
  void phases(const Program& program, uint32_t block, typename Program::A* shared) {
    if constexpr (Phase < Program::kPhases) {
      const int threads = program.num_threads();
      for (int thread = 0; thread < threads; ++thread) program.template run<Phase>(block, thread, threads, shared);
      phases<Program, Phase + 1>(program, block, shared);
    }
  }
};

}  // namespace

const int64_t part_elements = 4096;
const int64_t min_channels = 1;

void prepare_memory(void*, size_t) {}

void bias_act(int, Type type, const BiasActArgs& args) {
  Loop loop;
  run_bias_act(loop, type, args, false);
}

void bias_act_derivative(int, Type type, const BiasActArgs& args) {
  Loop loop;
  run_bias_act(loop, type, args, true);
}

void upfirdn2d(int, Type type, const UpfirdnArgs& args) {
  Loop loop;
  run_upfirdn2d(loop, type, args);
}

}  // namespace sarigan::launch
