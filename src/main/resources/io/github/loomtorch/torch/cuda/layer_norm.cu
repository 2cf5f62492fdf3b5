/* LayerNorm of a step's or a prefill's rows: see layer_norm.cuh for what it needs. */
#include "layer_norm.cuh"

/*
 * out [M, HIDDEN] = norm(x [M, HIDDEN]), after x += residualBias [HIDDEN] if that is not null. A warp a row; a block of
 * up to 8 warps. Traffic: 2 HIDDEN elements a row, 3 HIDDEN with a residual bias.
 */
extern "C" __global__ void __launch_bounds__(256) layer_norm(Element* x, const Element* __restrict__ residualBias,
        const Element* __restrict__ weight, const Element* __restrict__ bias, Element* __restrict__ out, int rows) {
    const int row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    uint4 parts[PARTS], factors[PARTS], offsets[PARTS];
    #pragma unroll
    for (int p = 0; p < PARTS; p++) {
        factors[p] = columnOf(p) < HIDDEN ? loadWeights(weight + columnOf(p)) : make_uint4(0, 0, 0, 0);
        offsets[p] = columnOf(p) < HIDDEN ? loadWeights(bias + columnOf(p)) : make_uint4(0, 0, 0, 0);
    }
    releaseNext();
    awaitPrevious();
    if (row >= rows) {
        return;
    }
    x += (size_t)row * HIDDEN;
    loadRow(x, parts);
    if (residualBias) {
        #pragma unroll
        for (int p = 0; p < PARTS; p++) {
            if (columnOf(p) < HIDDEN) {
                float v[8], more[8];
                unpack(parts[p], v);
                load(residualBias + columnOf(p), more);
                #pragma unroll
                for (int i = 0; i < 8; i++) {
                    v[i] += more[i];
                }
                parts[p] = pack(v);
                *(uint4*)(x + columnOf(p)) = parts[p];
            }
        }
    }
    normRow(parts, [&](int p) { return factors[p]; }, [&](int p) { return offsets[p]; }, out + (size_t)row * HIDDEN);
}
