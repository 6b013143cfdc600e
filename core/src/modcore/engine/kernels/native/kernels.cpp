// The kernels that PyTorch has no fast operator for on a CPU: norms, rotation, gated activations,
// the write to the KV rows, and attention of a decode step straight through the row index.
//
// Compiled where it runs (see compile.py), for the processor that is there. Plain C at the border:
// pointers, sizes and strides; the caller checks shapes. Sums are float32 throughout.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>
#if defined(__AVX512BF16__) && defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace {

struct bfloat16 {
    uint16_t bits;
};

inline float widen(float x) { return x; }
inline float widen(bfloat16 x) {
    uint32_t bits = uint32_t(x.bits) << 16;
    float wide;
    std::memcpy(&wide, &bits, 4);
    return wide;
}
inline void narrow(float x, float& out) { out = x; }
inline void narrow(float x, bfloat16& out) {  // to nearest, ties to even; NaN stays NaN
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    out.bits = uint16_t(x != x ? 0x7fc0 : rounded);
}
template <typename T>
inline float rounded(float x) {
    T t;
    narrow(x, t);
    return widen(t);
}

// exp to about 1e-7, in a form that compilers vectorise: 2^n times a polynomial (Cephes).
inline float fast_exp(float x) {
    x = std::min(std::max(x, -87.0f), 88.0f);
    float n = std::floor(x * 1.44269504088896341f + 0.5f);
    x -= n * 0.693359375f;
    x -= n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * x + 1.3981999507e-3f;
    p = p * x + 8.3334519073e-3f;
    p = p * x + 4.1665795894e-2f;
    p = p * x + 1.6666665459e-1f;
    p = p * x + 5.0000001201e-1f;
    p = p * x * x + x + 1.0f;
    uint32_t bits = uint32_t(int32_t(n) + 127) << 23;
    float scale;
    std::memcpy(&scale, &bits, 4);
    return p * scale;
}

inline float dot(const float* a, const float* b, int n) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

// q is kept in float32 and, for bfloat16 rows, as it came.
template <typename T>
struct Query;
template <>
struct Query<float> {
    static float score(const float* q, const float* k, int n) { return dot(q, k, n); }
};
template <>
struct Query<bfloat16> {
    static float score(const bfloat16* q, const bfloat16* k, int n) {
#if defined(__AVX512BF16__) && defined(__AVX512F__)
        __m512 sum = _mm512_setzero_ps();
        int i = 0;
        for (; i + 32 <= n; i += 32)
            sum = _mm512_dpbf16_ps(sum, (__m512bh)_mm512_loadu_si512(q + i), (__m512bh)_mm512_loadu_si512(k + i));
        float total = _mm512_reduce_add_ps(sum);
        for (; i < n; i++) total += widen(q[i]) * widen(k[i]);
        return total;
#else
        float total = 0;
#pragma omp simd reduction(+ : total)
        for (int i = 0; i < n; i++) total += widen(q[i]) * widen(k[i]);
        return total;
#endif
    }
};

constexpr int BLOCK = 128;  // keys at a time

// One query head group of one request: online softmax over [first, length).
template <typename T>
void attend(const T* q, const T* keys, const T* values, const int64_t* rows, int64_t first, int64_t length,
            int64_t row_stride, int group, int dim, float scale, const float* slopes, T* out, float* scratch) {
    float* sums = scratch;                 // [group, dim]
    float* scores = scratch + group * dim; // [group, BLOCK]
    float* most = scores + group * BLOCK;  // [group]
    float* total = most + group;           // [group]
    std::fill(sums, sums + group * dim, 0.0f);
    std::fill(most, most + group, -INFINITY);
    std::fill(total, total + group, 0.0f);
    for (int64_t start = first; start < length; start += BLOCK) {
        int count = int(std::min<int64_t>(BLOCK, length - start));
        for (int j = 0; j < count; j++) {
            const T* key = keys + rows[start + j] * row_stride;
            if (j + 4 < count) __builtin_prefetch(keys + rows[start + j + 4] * row_stride);
            for (int g = 0; g < group; g++) {
                float score = scale * Query<T>::score(q + g * dim, key, dim);
                if (slopes) score -= slopes[g] * float(length - 1 - (start + j));
                scores[g * BLOCK + j] = score;
            }
        }
        for (int g = 0; g < group; g++) {
            float* s = scores + g * BLOCK;
            float high = most[g];
            bool is_nan = false;
            for (int j = 0; j < count; j++) {
                high = std::max(high, s[j]);
                is_nan |= s[j] != s[j];
            }
            if (is_nan) high = NAN;  // shown, not hidden
            float shrink = most[g] == -INFINITY ? 0.0f : fast_exp(most[g] - high);
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int j = 0; j < count; j++) {
                s[j] = fast_exp(s[j] - high);
                sum += s[j];
            }
            if (is_nan) sum = NAN;
            total[g] = total[g] * shrink + sum;
            most[g] = high;
            float* acc = sums + g * dim;
            if (shrink != 1.0f)
                for (int d = 0; d < dim; d++) acc[d] *= shrink;
        }
        for (int j = 0; j < count; j++) {
            const T* value = values + rows[start + j] * row_stride;
            if (j + 4 < count) __builtin_prefetch(values + rows[start + j + 4] * row_stride);
            for (int g = 0; g < group; g++) {
                float weight = scores[g * BLOCK + j];
                float* acc = sums + g * dim;
#pragma omp simd
                for (int d = 0; d < dim; d++) acc[d] += weight * widen(value[d]);
            }
        }
    }
    for (int g = 0; g < group; g++)
        for (int d = 0; d < dim; d++) narrow(sums[g * dim + d] / total[g], out[g * dim + d]);
}

template <typename T>
void token_attention(const T* q, const T* keys, const T* values, const int64_t* b_loc, int64_t loc_stride,
                     const int64_t* lengths, int64_t batch, int64_t heads, int64_t kv_heads, int64_t dim,
                     int64_t q_stride, float scale, int64_t window, const float* slopes, T* out, int64_t threads) {
    int group = int(heads / kv_heads);
    int64_t row_stride = kv_heads * dim;
    size_t room = size_t(group) * (dim + BLOCK + 2);
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> scratch(room);
#pragma omp for schedule(dynamic, 1)
        for (int64_t task = 0; task < batch * kv_heads; task++) {
            int64_t r = task / kv_heads, k = task % kv_heads;
            int64_t first = window > 0 ? std::max<int64_t>(0, lengths[r] - window) : 0;
            attend<T>(q + r * q_stride + k * group * dim, keys + k * dim, values + k * dim, b_loc + r * loc_stride,
                      first, lengths[r], row_stride, group, int(dim), scale, slopes ? slopes + k * group : nullptr,
                      out + (r * heads + k * group) * dim, scratch.data());
        }
    }
}

template <typename T>
void rms_norm(const T* x, const T* weight, T* out, int64_t rows, int64_t width, float eps, int64_t threads) {
#pragma omp parallel for num_threads(threads) if (rows * width > 65536)
    for (int64_t r = 0; r < rows; r++) {
        const T* in = x + r * width;
        T* to = out + r * width;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < width; i++) sum += widen(in[i]) * widen(in[i]);
        float scale = 1.0f / std::sqrt(sum / float(width) + eps);
#pragma omp simd
        for (int64_t i = 0; i < width; i++) narrow(widen(weight[i]) * rounded<T>(widen(in[i]) * scale), to[i]);
    }
}

template <typename T>
void rotary(const T* x, int64_t x_stride, const float* cos, const float* sin, T* out, int64_t tokens, int64_t heads,
            int64_t dim, int64_t threads) {
    int64_t half = dim / 2;
#pragma omp parallel for num_threads(threads) if (tokens * heads * dim > 65536)
    for (int64_t t = 0; t < tokens; t++) {
        const float *c = cos + t * half, *s = sin + t * half;
        for (int64_t h = 0; h < heads; h++) {
            const T* in = x + t * x_stride + h * dim;
            T* to = out + (t * heads + h) * dim;
#pragma omp simd
            for (int64_t i = 0; i < half; i++) {
                float a = widen(in[i]), b = widen(in[half + i]);
                narrow(a * c[i] - b * s[i], to[i]);
                narrow(b * c[i] + a * s[i], to[half + i]);
            }
        }
    }
}

template <typename T>
void gated_silu(const T* x, T* out, int64_t rows, int64_t width, int64_t threads) {
#pragma omp parallel for num_threads(threads) if (rows * width > 65536)
    for (int64_t r = 0; r < rows; r++) {
        const T *gate = x + r * 2 * width, *up = gate + width;
        T* to = out + r * width;
#pragma omp simd
        for (int64_t i = 0; i < width; i++) {
            float g = widen(gate[i]);
            narrow(rounded<T>(g / (1.0f + fast_exp(-g))) * widen(up[i]), to[i]);
        }
    }
}

template <typename T>
void store(const T* x, int64_t x_stride, const int64_t* rows, T* to, int64_t tokens, int64_t width) {
    for (int64_t t = 0; t < tokens; t++) std::memcpy(to + rows[t] * width, x + t * x_stride, width * sizeof(T));
}

}  // namespace

#define EXPORT(T, NAME)                                                                                              \
    extern "C" void token_attention_##NAME(const T* q, const T* k, const T* v, const int64_t* loc, int64_t stride,   \
                                           const int64_t* lengths, int64_t batch, int64_t heads, int64_t kv,         \
                                           int64_t dim, int64_t q_stride, float scale, int64_t window,               \
                                           const float* slopes, T* out, int64_t threads) {                           \
        token_attention<T>(q, k, v, loc, stride, lengths, batch, heads, kv, dim, q_stride, scale, window, slopes,    \
                           out, threads);                                                                            \
    }                                                                                                                \
    extern "C" void rms_norm_##NAME(const T* x, const T* w, T* out, int64_t rows, int64_t width, float eps,          \
                                    int64_t threads) {                                                               \
        rms_norm<T>(x, w, out, rows, width, eps, threads);                                                           \
    }                                                                                                                \
    extern "C" void rotary_##NAME(const T* x, int64_t stride, const float* c, const float* s, T* out, int64_t tokens, \
                                  int64_t heads, int64_t dim, int64_t threads) {                                     \
        rotary<T>(x, stride, c, s, out, tokens, heads, dim, threads);                                                \
    }                                                                                                                \
    extern "C" void gated_silu_##NAME(const T* x, T* out, int64_t rows, int64_t width, int64_t threads) {            \
        gated_silu<T>(x, out, rows, width, threads);                                                                 \
    }                                                                                                                \
    extern "C" void store_##NAME(const T* x, int64_t stride, const int64_t* rows, T* to, int64_t tokens,             \
                                 int64_t width) {                                                                    \
        store<T>(x, stride, rows, to, tokens, width);                                                                \
    }

EXPORT(bfloat16, bf16)
EXPORT(float, f32)
