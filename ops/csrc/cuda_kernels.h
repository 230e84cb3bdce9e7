// The CUDA launchers, free of CUDA and torch headers. `stream` is a cudaStream_t of the current device. Each returns null,
// or what went wrong.
#pragma once

#include "core.h"

namespace sarigan {

const char* cuda_bias_act(void* stream, Type type, const BiasActArgs& args, bool derivative);
const char* cuda_upfirdn2d(void* stream, Type type, const UpfirdnArgs& args);

}  // namespace sarigan
