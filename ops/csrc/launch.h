// What operators.cpp needs from a device: operators_cpu.cpp and operators_cuda.cpp each provide it for theirs.
#pragma once

#include <cstddef>

#include "kernels.h"

namespace sarigan::launch {

extern const int64_t part_elements;  // of BiasActArgs
extern const int64_t min_channels;   // fewer channels side by side than this are too few for the kernels

// Called with the fresh memory of every result.
void prepare_memory(void* memory, size_t bytes);

// `device` is the index of the device of the arguments. No argument is empty.
void bias_act(int device, Type type, const BiasActArgs& args);
void bias_act_derivative(int device, Type type, const BiasActArgs& args);
void upfirdn2d(int device, Type type, const UpfirdnArgs& args);

}  // namespace sarigan::launch
