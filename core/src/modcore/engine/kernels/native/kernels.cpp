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

constexpr int BLOCK = 64;  // keys at a time

template <typename T>
inline void prefetch(const T* from, int64_t count) {
    for (int64_t i = 0; i < count; i += 64 / int64_t(sizeof(T))) __builtin_prefetch(from + i);
}

// One request, kv_heads neighbouring KV heads of it: online softmax over the keys [first, length).
// All heads are served key by key, so that a row is read once and in order.
template <typename T>
void attend(const T* q, const T* keys, const T* values, const int64_t* rows, int64_t first, int64_t length,
            int64_t row_stride, int kv_heads, int group, int dim, float scale, const float* slopes, T* out,
            float* scratch) {
    int heads = kv_heads * group;
    float* sums = scratch;                  // [heads, dim]
    float* scores = sums + heads * dim;     // [heads, BLOCK]
    float* most = scores + heads * BLOCK;   // [heads]
    float* total = most + heads;            // [heads]
    std::fill(sums, sums + heads * dim, 0.0f);
    std::fill(most, most + heads, -INFINITY);
    std::fill(total, total + heads, 0.0f);
    for (int64_t start = first; start < length; start += BLOCK) {
        int count = int(std::min<int64_t>(BLOCK, length - start));
        for (int j = 0; j < count; j++) {
            const T* key = keys + rows[start + j] * row_stride;
            if (j + 2 < count) prefetch(keys + rows[start + j + 2] * row_stride, kv_heads * dim);
            for (int h = 0; h < heads; h++) {
                float score = scale * Query<T>::score(q + h * dim, key + (h / group) * dim, dim);
                if (slopes) score -= slopes[h] * float(length - 1 - (start + j));
                scores[h * BLOCK + j] = score;
            }
        }
        for (int h = 0; h < heads; h++) {
            float* s = scores + h * BLOCK;
            float high = most[h];
            bool is_nan = false;
            for (int j = 0; j < count; j++) {
                high = std::max(high, s[j]);
                is_nan |= s[j] != s[j];
            }
            if (is_nan) high = NAN;  // shown, not hidden
            float shrink = most[h] == -INFINITY ? 0.0f : fast_exp(most[h] - high);
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int j = 0; j < count; j++) {
                s[j] = fast_exp(s[j] - high);
                sum += s[j];
            }
            if (is_nan) sum = NAN;
            total[h] = total[h] * shrink + sum;
            most[h] = high;
            float* acc = sums + h * dim;
            if (shrink != 1.0f)
                for (int d = 0; d < dim; d++) acc[d] *= shrink;
        }
        for (int j = 0; j < count; j++) {
            const T* row = values + rows[start + j] * row_stride;
            if (j + 2 < count) prefetch(values + rows[start + j + 2] * row_stride, kv_heads * dim);
            for (int h = 0; h < heads; h++) {
                const T* value = row + (h / group) * dim;
                float weight = scores[h * BLOCK + j];
                float* acc = sums + h * dim;
#pragma omp simd
                for (int d = 0; d < dim; d++) acc[d] += weight * widen(value[d]);
            }
        }
    }
    for (int h = 0; h < heads; h++)
        for (int d = 0; d < dim; d++) narrow(sums[h * dim + d] / total[h], out[h * dim + d]);
}

template <typename T>
void token_attention(const T* q, const T* keys, const T* values, const int64_t* b_loc, int64_t loc_stride,
                     const int64_t* lengths, int64_t batch, int64_t heads, int64_t kv_heads, int64_t dim,
                     int64_t q_stride, float scale, int64_t window, const float* slopes, T* out, int64_t threads) {
    int64_t group = heads / kv_heads, row_stride = kv_heads * dim;
    // Few requests are shared out by their heads, many are taken whole.
    int64_t parts = batch >= 2 * threads ? 1 : std::min(kv_heads, 2 * threads);
    while (kv_heads % parts) parts++;
    int64_t own_kv = kv_heads / parts, own = own_kv * group;
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> scratch(size_t(own) * (dim + BLOCK + 2));
#pragma omp for schedule(dynamic, 1)
        for (int64_t task = 0; task < batch * parts; task++) {
            int64_t r = task / parts, part = task % parts;
            int64_t first = window > 0 ? std::max<int64_t>(0, lengths[r] - window) : 0;
            attend<T>(q + r * q_stride + part * own * dim, keys + part * own_kv * dim, values + part * own_kv * dim,
                      b_loc + r * loc_stride, first, lengths[r], row_stride, int(own_kv), int(group), int(dim), scale,
                      slopes ? slopes + part * own : nullptr, out + (r * heads + part * own) * dim, scratch.data());
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
