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

#if defined(__AVX512BF16__) && defined(__AVX512F__)
#define HAS_BFLOAT16_PRODUCTS 1

inline __m512 exp512(__m512 x) {
    // A NaN stays one: of a NaN and a number, the second operand is taken.
    x = _mm512_max_ps(_mm512_set1_ps(-87.0f), _mm512_min_ps(_mm512_set1_ps(88.0f), x));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)), 8);
    x = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    x = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), x);
    __m512 p = _mm512_set1_ps(1.9875691500e-4f);
    for (float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
        p = _mm512_fmadd_ps(p, x, _mm512_set1_ps(c));
    p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(x, x), x), _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

// out[r][0 .. 64) (+)= the products of ROWS rows of pairs `left` with `packed` [pairs][64][2].
// With AHEAD, pairs that far on are fetched: a matrix that streams from memory comes faster so.
template <int ROWS, int VECTORS, int AHEAD = 0>
inline void tile(const bfloat16* const* left, const bfloat16* packed, int pairs, __m512 (&sum)[ROWS][VECTORS]) {
    for (int p = 0; p < pairs; p++) {
        if (AHEAD)
            for (int v = 0; v < VECTORS; v++)
                __builtin_prefetch(packed + ((int64_t(p) + AHEAD) * 64 + v * 16) * 2);
        __m512bh right[VECTORS];
        for (int v = 0; v < VECTORS; v++)
            right[v] = (__m512bh)_mm512_loadu_si512(packed + (int64_t(p) * 64 + v * 16) * 2);
        for (int r = 0; r < ROWS; r++) {
            int32_t pair;
            std::memcpy(&pair, left[r] + 2 * p, 4);
            __m512bh wide = (__m512bh)_mm512_set1_epi32(pair);
            for (int v = 0; v < VECTORS; v++) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], wide, right[v]);
        }
    }
}

constexpr int KEYS = 64;  // keys at a time; dim is taken in stretches of 64 too

struct Chunk {  // some queries of one request, for one KV head
    const bfloat16* q;       // of the first query token and the first head of the group
    const int64_t* rows;     // of the request's tokens
    int64_t first_position;  // of the first query token
    int queries;
    bfloat16* out;
    int64_t tokens = 0;  // that every query sees; 0: a query sees those up to itself
};

struct Scratch {
    std::vector<bfloat16> keys, values, weights;
    std::vector<float> sums, most, total;
    std::vector<const bfloat16*> left;
    std::vector<bfloat16> nothing;
};

void attend_chunk(const Chunk& c, const bfloat16* keys, const bfloat16* values, int64_t key_stride,
                  int64_t value_stride, int64_t q_stride, int64_t out_stride, int group, int dim, float scale, int64_t window,
                  const float* slopes, Scratch& s) {
    int rows = c.queries * group, padded = (rows + 3) / 4 * 4, stretches = (dim + 63) / 64;
    s.keys.resize(int64_t(dim / 2) * KEYS * 2);
    s.values.resize(int64_t(stretches) * (KEYS / 2) * 64 * 2);
    s.weights.resize(int64_t(padded) * KEYS);
    s.sums.assign(int64_t(padded) * stretches * 64, 0.0f);
    s.most.assign(padded, -INFINITY);
    s.total.assign(padded, 0.0f);
    s.nothing.assign(dim, bfloat16{0});
    s.left.resize(padded);
    for (int r = 0; r < padded; r++)
        s.left[r] = r < rows ? c.q + (r / group) * q_stride + (r % group) * dim : s.nothing.data();
    int64_t end = c.tokens ? c.tokens : c.first_position + c.queries;  // keys that the last query sees
    int64_t begin = window > 0 ? std::max<int64_t>(0, c.first_position - window + 1) : 0;
    __m512 lanes = _mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    for (int64_t start = begin; start < end; start += KEYS) {
        int count = int(std::min<int64_t>(KEYS, end - start));
        // Keys by pairs of dimensions [dim / 2][KEYS][2], values by pairs of keys [KEYS / 2][64][2].
        if (count < KEYS) {
            std::fill(s.keys.begin(), s.keys.end(), bfloat16{0});
            std::fill(s.values.begin(), s.values.end(), bfloat16{0});
        }
        for (int j = 0; j < count; j++) {
            const bfloat16* key = keys + c.rows[start + j] * key_stride;
            const bfloat16* value = values + c.rows[start + j] * value_stride;
            uint32_t* to = reinterpret_cast<uint32_t*>(s.keys.data()) + j;
            for (int p = 0; p < dim / 2; p++) std::memcpy(to + int64_t(p) * KEYS, key + 2 * p, 4);
            for (int t = 0; t < stretches; t++) {
                bfloat16* pair = s.values.data() + ((int64_t(t) * (KEYS / 2) + j / 2) * 64) * 2 + (j & 1);
                int width = std::min(64, dim - t * 64);
                for (int d = 0; d < width; d++) pair[2 * d] = value[t * 64 + d];
            }
        }
        for (int r = 0; r < padded; r += 4) {
            __m512 score[4][4] = {};
            tile<4, 4>(&s.left[r], s.keys.data(), dim / 2, score);
            for (int i = 0; i < 4; i++) {
                int row = r + i;
                int64_t position = c.first_position + row / group;
                // Keys of the block up to itself, or all.
                int64_t seen = row >= rows ? 0 : c.tokens ? count : position - start + 1;
                int64_t hidden = window > 0 ? position - window + 1 - start : 0;  // and too far back
                __m512 scaled[4];
                __m512 high = _mm512_set1_ps(-INFINITY);
                __mmask16 visible[4], unordered = 0;
                for (int v = 0; v < 4; v++) {
                    int64_t last = std::min<int64_t>(16, std::max<int64_t>(0, seen - v * 16));
                    int64_t first = std::min<int64_t>(16, std::max<int64_t>(0, hidden - v * 16));
                    visible[v] = __mmask16(((1u << last) - 1) & ~((1u << first) - 1));
                    scaled[v] = _mm512_mul_ps(score[i][v], _mm512_set1_ps(scale));
                    if (slopes) {
                        __m512 distance = _mm512_sub_ps(_mm512_set1_ps(float(position - start - v * 16)), lanes);
                        scaled[v] = _mm512_fnmadd_ps(_mm512_set1_ps(slopes[row % group]), distance, scaled[v]);
                    }
                    high = _mm512_mask_max_ps(high, visible[v], high, scaled[v]);
                    unordered |= _mm512_mask_cmp_ps_mask(visible[v], scaled[v], scaled[v], _CMP_UNORD_Q);
                }
                float before = s.most[row];
                float most = std::max(before, _mm512_reduce_max_ps(high));
                if (unordered || before != before) most = NAN;  // shown, not hidden
                bfloat16* weights = s.weights.data() + int64_t(row) * KEYS;
                if (most == -INFINITY) {
                    std::memset(weights, 0, KEYS * sizeof(bfloat16));
                    continue;
                }
                __m512 sum = _mm512_setzero_ps(), weight[4];
                for (int v = 0; v < 4; v++) {
                    weight[v] = _mm512_maskz_mov_ps(visible[v], exp512(_mm512_sub_ps(scaled[v], _mm512_set1_ps(most))));
                    sum = _mm512_add_ps(sum, weight[v]);
                }
                for (int v = 0; v < 4; v += 2)
                    _mm512_storeu_si512(weights + v * 16, (__m512i)_mm512_cvtne2ps_pbh(weight[v + 1], weight[v]));
                float shrink = before == -INFINITY ? 0.0f : std::exp(before - most);
                s.total[row] = s.total[row] * shrink + _mm512_reduce_add_ps(sum);
                s.most[row] = most;
                if (shrink != 1.0f) {
                    float* to = s.sums.data() + int64_t(row) * stretches * 64;
                    for (int d = 0; d < stretches * 64; d++) to[d] *= shrink;
                }
            }
            const bfloat16* left[4];
            for (int i = 0; i < 4; i++) left[i] = s.weights.data() + int64_t(r + i) * KEYS;
            for (int t = 0; t < stretches; t++) {
                __m512 sums[4][4];
                float* to = s.sums.data() + (int64_t(r) * stretches + t) * 64;
                for (int i = 0; i < 4; i++)
                    for (int v = 0; v < 4; v++) sums[i][v] = _mm512_loadu_ps(to + i * stretches * 64 + v * 16);
                tile<4, 4>(left, s.values.data() + int64_t(t) * (KEYS / 2) * 64 * 2, (count + 1) / 2, sums);
                for (int i = 0; i < 4; i++)
                    for (int v = 0; v < 4; v++) _mm512_storeu_ps(to + i * stretches * 64 + v * 16, sums[i][v]);
            }
        }
    }
    for (int row = 0; row < rows; row++) {
        const float* from = s.sums.data() + int64_t(row) * stretches * 64;
        bfloat16* to = c.out + (row / group) * out_stride + (row % group) * dim;
        for (int d = 0; d < dim; d++) narrow(from[d] / s.total[row], to[d]);
    }
}

// q [tokens, heads, dim] of several requests, one behind the other; counts[r] new tokens of lengths[r].
void context_attention(const bfloat16* q, const bfloat16* keys, const bfloat16* values, const int64_t* b_loc,
                       int64_t loc_stride, const int64_t* lengths, const int64_t* counts, int64_t batch,
                       int64_t heads, int64_t kv_heads, int64_t dim, int64_t q_stride, float scale, int64_t window,
                       const float* slopes, bfloat16* out, int64_t threads) {
    int group = int(heads / kv_heads), queries = std::max(8, 128 / group);
    std::vector<std::pair<Chunk, int64_t>> tasks;
    int64_t token = 0;
    for (int64_t r = 0; r < batch; token += counts[r], r++)
        for (int64_t from = 0; from < counts[r]; from += queries)
            for (int64_t k = 0; k < kv_heads; k++)
                tasks.push_back({Chunk{q + (token + from) * q_stride + k * group * dim, b_loc + r * loc_stride,
                                       lengths[r] - counts[r] + from, int(std::min<int64_t>(queries, counts[r] - from)),
                                       out + ((token + from) * heads + k * group) * dim},
                                 k});
#pragma omp parallel num_threads(threads)
    {
        Scratch scratch;
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = int64_t(tasks.size()) - 1; i >= 0; i--) {  // the last queries see most
            int64_t k = tasks[i].second;
            attend_chunk(tasks[i].first, keys + k * dim, values + k * dim, kv_heads * dim, kv_heads * dim, q_stride,
                         heads * dim, group, int(dim), scale, window, slopes ? slopes + k * group : nullptr, scratch);
        }
    }
}

constexpr int FULL_QUERIES = 384;  // that a block of keys and values is laid out for

// Every token sees all of its sequence: q, k, v [batch, tokens, heads, dim], a token's stride each -> out, contiguous.
void full_attention(const bfloat16* q, const bfloat16* k, const bfloat16* v, const int64_t* strides, int64_t batch,
                    int64_t tokens, int64_t heads, int64_t dim, float scale, bfloat16* out, int64_t threads) {
    std::vector<int64_t> rows(tokens);
    for (int64_t t = 0; t < tokens; t++) rows[t] = t;
    int64_t chunks = (tokens + FULL_QUERIES - 1) / FULL_QUERIES, queries = (tokens + chunks - 1) / chunks;
#pragma omp parallel num_threads(threads)
    {
        Scratch scratch;
#pragma omp for schedule(dynamic, 1)
        for (int64_t task = 0; task < batch * heads * chunks; task++) {
            int64_t b = task / (heads * chunks), head = task / chunks % heads, from = task % chunks * queries;
            if (from >= tokens) continue;
            int64_t token = b * tokens;
            Chunk chunk{q + (token + from) * strides[0] + head * dim, rows.data(), from,
                        int(std::min(queries, tokens - from)), out + ((token + from) * heads + head) * dim, tokens};
            attend_chunk(chunk, k + token * strides[1] + head * dim, v + token * strides[2] + head * dim, strides[1],
                         strides[2], strides[0], heads * dim, 1, int(dim), scale, 0, nullptr, scratch);
        }
    }
}

// A few rows x [rows, in] times a matrix in oneDNN's layout, [out / 64][in / 2][64][2]: streamed once.
template <int ROWS>
void rows_times_block(const bfloat16* const* x, const bfloat16* block, int64_t in, const bfloat16* bias, bfloat16* const* out) {
    __m512 sum[ROWS][4] = {};
    tile<ROWS, 4, 32>(x, block, int(in / 2), sum);
    alignas(64) float wide[64];
    for (int r = 0; r < ROWS; r++) {
        for (int v = 0; v < 4; v++) _mm512_store_ps(wide + v * 16, sum[r][v]);
        for (int o = 0; o < 64; o++) narrow(wide[o] + (bias ? widen(bias[o]) : 0.0f), out[r][o]);
    }
}

void few_rows(const bfloat16* x, int64_t rows, int64_t in, const bfloat16* weight, int64_t outs, const bfloat16* bias,
              bfloat16* out, int64_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t b = 0; b < outs / 64; b++) {
        const bfloat16* block = weight + b * in * 64;
        const bfloat16* own = bias ? bias + b * 64 : nullptr;
        for (int64_t r = 0; r < rows; r += 4) {
            const bfloat16* from[4];
            bfloat16* to[4];
            int count = int(std::min<int64_t>(4, rows - r));
            for (int i = 0; i < count; i++) from[i] = x + (r + i) * in, to[i] = out + (r + i) * outs + b * 64;
            if (count == 4) rows_times_block<4>(from, block, in, own, to);
            else if (count == 3) rows_times_block<3>(from, block, in, own, to);
            else if (count == 2) rows_times_block<2>(from, block, in, own, to);
            else rows_times_block<1>(from, block, in, own, to);
        }
    }
}

constexpr int GROUP = 32;  // inputs that share a scale

// 4-bit weights in PyTorch's layout (see rows_times_int4) become bfloat16 in oneDNN's, [out / 64][in / 2][64][2].
void unpack_int4(const uint8_t* weight, const uint32_t* scales, int64_t in, int64_t outs, int64_t blocks, uint32_t* to,
                 int64_t threads) {
    const __m256i low = _mm256_set1_epi8(15);
    const __m512i half = _mm512_set1_epi32(0x8000), upper = _mm512_set1_epi32(int(0xffff0000));
#pragma omp parallel for collapse(2) num_threads(threads) schedule(static)
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t g = 0; g < in / GROUP; g++) {
            __m512 scale[4], zero[4];
            for (int v = 0; v < 4; v++) {
                __m512i both = _mm512_loadu_si512(scales + g * outs + b * 64 + v * 16);
                scale[v] = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
                zero[v] = _mm512_castsi512_ps(_mm512_and_si512(both, upper));
                zero[v] = _mm512_fnmadd_ps(_mm512_set1_ps(8.0f), scale[v], zero[v]);
            }
            for (int64_t c = g * GROUP; c < (g + 1) * GROUP; c += 2) {
                __m512i number[2][4];
                for (int i = 0; i < 2; i++) {
                    __m256i packed = _mm256_loadu_si256((const __m256i*)(weight + (b * in + c + i) * 32));
                    __m256i first = _mm256_and_si256(packed, low);
                    __m256i second = _mm256_and_si256(_mm256_srli_epi16(packed, 4), low);
                    __m128i sixteen[4] = {_mm256_castsi256_si128(first), _mm256_extracti128_si256(first, 1),
                                          _mm256_castsi256_si128(second), _mm256_extracti128_si256(second, 1)};
                    for (int v = 0; v < 4; v++) {
                        __m512 wide = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(sixteen[v]));
                        wide = _mm512_fmadd_ps(wide, scale[v], zero[v]);
                        number[i][v] = _mm512_add_epi32(_mm512_castps_si512(wide), half);
                    }
                }
                for (int v = 0; v < 4; v++) {
                    __m512i pair = _mm512_or_si512(_mm512_srli_epi32(number[0][v], 16),
                                                   _mm512_and_si512(number[1][v], upper));
                    _mm512_storeu_si512(to + ((b * in + c) / 2) * 64 + v * 16, pair);
                }
            }
        }
}

#ifdef __AVX512VNNI__
#define HAS_INT8_PRODUCTS 1
// The scale that brings `count` numbers to -127..127; not finite when one of them is not: shown, not hidden.
inline float scale_to_bytes(const bfloat16* from, int64_t count) {
    float most = 0;
    bool is_nan = false;
#pragma omp simd reduction(max : most) reduction(|| : is_nan)
    for (int64_t i = 0; i < count; i++) {
        float value = widen(from[i]);
        most = std::max(most, std::fabs(value));
        is_nan = is_nan || value != value;
    }
    return is_nan || std::isinf(most) ? NAN : std::max(most / 127.0f, 1e-30f);
}

// Rows times 4-bit weights in PyTorch's layout: for each block of 64 outputs [in][32 bytes], the low halves being the
// first 32 outputs; for each group of 32 inputs [in / 32][outs] pairs of scale and zero, w = (q - 8) * scale + zero.
// The rows are rounded to 8 bits, group by group, so that bytes are multiplied: unpacking to bfloat16 takes longer
// than the memory does.
// Eight inputs of a row as rows_times_int4 meets their weights: the even ones, eight times, then the odd ones.
struct alignas(64) Eight {
    int8_t even[8][4], odd[8][4];
};

// A row of `in` inputs: Eight by Eight; for each group its scale, and its scale times the sum of its bytes.
struct RoundedRow {
    const Eight* bytes;
    const float* scales;
    const float* sums;
};

void round_row(const bfloat16* from, int64_t in, Eight* bytes, float* scales, float* sums) {
    for (int64_t g = 0; g < in / GROUP; g++, from += GROUP) {
        float scale = scale_to_bytes(from, GROUP);
        alignas(64) int8_t rounded[GROUP];
        int sum = 0;
        for (int c = 0; c < GROUP; c++) {
            rounded[c] = int8_t(int(widen(from[c]) / scale + 128.5f) - 128);
            sum += rounded[c];
        }
        scales[g] = scale;
        sums[g] = scale * float(sum);
        for (int e = 0; e < GROUP / 8; e++, bytes++)
            for (int lane = 0; lane < 8; lane++)
                for (int i = 0; i < 4; i++) {
                    bytes->even[lane][i] = rounded[8 * e + 2 * i];
                    bytes->odd[lane][i] = rounded[8 * e + 2 * i + 1];
                }
    }
}

// One group's products of 32 outputs: sums of pairs of 128-bit lanes, [even inputs | odd inputs] of outputs 4j.. and
// 16 + 4j.., become outputs 0-15 and 16-31.
inline void in_order(const __m512i sum[4], __m512i ordered[2]) {
    __m512i two[2];
    for (int i = 0; i < 2; i++)
        two[i] = _mm512_add_epi32(_mm512_shuffle_i32x4(sum[2 * i], sum[2 * i + 1], 0x44),
                                  _mm512_shuffle_i32x4(sum[2 * i], sum[2 * i + 1], 0xee));
    ordered[0] = _mm512_shuffle_i32x4(two[0], two[1], 0x88);
    ordered[1] = _mm512_shuffle_i32x4(two[0], two[1], 0xdd);
}

template <int ROWS>
void rows_times_int4(const RoundedRow* x, const uint8_t* block, const uint32_t* scales, int64_t in, int64_t outs,
                     const bfloat16* bias, bfloat16* const* out) {
    const __m512i low = _mm512_set1_epi8(15);
    const int64_t groups = in / GROUP;
    __m512 total[ROWS][4] = {};
    for (int64_t g = 0; g < groups; g++) {
        // A group's scales lie far from the last one's, where no hardware looks ahead: the block's, then the next's.
        const int64_t ahead = g + 16;
        const uint32_t* soon = ahead < groups ? scales + ahead * outs : scales + (ahead - groups) * outs + 64;
        for (int v = 0; v < 4; v++) __builtin_prefetch(soon + v * 16);
        __m512i sum[ROWS][2][4] = {};  // of the low halves and the high ones
        for (int e = 0; e < GROUP / 8; e++) {
            const uint8_t* at = block + (g * GROUP + 8 * e) * 32;
            __m512i columns[4];  // two inputs each
            for (int i = 0; i < 4; i++) {
                __builtin_prefetch(at + 12288 + 64 * i);
                columns[i] = _mm512_loadu_si512(at + 64 * i);
            }
            __m512i twos[4] = {
                _mm512_unpacklo_epi8(columns[0], columns[1]), _mm512_unpackhi_epi8(columns[0], columns[1]),
                _mm512_unpacklo_epi8(columns[2], columns[3]), _mm512_unpackhi_epi8(columns[2], columns[3])};
            __m512i fours[4] = {_mm512_unpacklo_epi16(twos[0], twos[2]), _mm512_unpackhi_epi16(twos[0], twos[2]),
                                _mm512_unpacklo_epi16(twos[1], twos[3]), _mm512_unpackhi_epi16(twos[1], twos[3])};
            for (int j = 0; j < 4; j++) {
                __m512i first = _mm512_and_si512(fours[j], low);
                __m512i second = _mm512_and_si512(_mm512_srli_epi16(fours[j], 4), low);
                for (int r = 0; r < ROWS; r++) {
                    __m512i inputs = _mm512_load_si512(x[r].bytes + g * (GROUP / 8) + e);
                    sum[r][0][j] = _mm512_dpbusd_epi32(sum[r][0][j], first, inputs);
                    sum[r][1][j] = _mm512_dpbusd_epi32(sum[r][1][j], second, inputs);
                }
            }
        }
        __m512 scale[4], zero[4];
        for (int v = 0; v < 4; v++) {
            __m512i both = _mm512_loadu_si512(scales + g * outs + v * 16);
            scale[v] = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
            zero[v] = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(int(0xffff0000))));
            zero[v] = _mm512_fnmadd_ps(_mm512_set1_ps(8.0f), scale[v], zero[v]);
        }
        for (int r = 0; r < ROWS; r++) {
            __m512 x_scale = _mm512_set1_ps(x[r].scales[g]), x_sum = _mm512_set1_ps(x[r].sums[g]);
            for (int half = 0; half < 2; half++) {
                __m512i ordered[2];
                in_order(sum[r][half], ordered);
                for (int i = 0; i < 2; i++) {
                    int v = 2 * half + i;
                    __m512 products = _mm512_mul_ps(_mm512_cvtepi32_ps(ordered[i]), x_scale);
                    total[r][v] = _mm512_fmadd_ps(products, scale[v], _mm512_fmadd_ps(x_sum, zero[v], total[r][v]));
                }
            }
        }
    }
    alignas(64) float wide[64];
    for (int r = 0; r < ROWS; r++) {
        for (int v = 0; v < 4; v++) _mm512_store_ps(wide + v * 16, total[r][v]);
        for (int o = 0; o < 64; o++) narrow(wide[o] + (bias ? widen(bias[o]) : 0.0f), out[r][o]);
    }
}

void few_rows_int4(const bfloat16* x, int64_t rows, int64_t in, const uint8_t* weight, const uint32_t* scales,
                   int64_t outs, const bfloat16* bias, bfloat16* out, int64_t threads) {
    int64_t groups = in / GROUP, eights = in / 8;
    std::vector<Eight> bytes(size_t(rows) * eights);
    std::vector<float> x_scales(size_t(rows) * groups), x_sums(size_t(rows) * groups);
    std::vector<RoundedRow> rounded(rows);
    for (int64_t r = 0; r < rows; r++) {
        rounded[r] = {&bytes[r * eights], &x_scales[r * groups], &x_sums[r * groups]};
        round_row(x + r * in, in, &bytes[r * eights], &x_scales[r * groups], &x_sums[r * groups]);
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t b = 0; b < outs / 64; b++) {
        const bfloat16* own = bias ? bias + b * 64 : nullptr;
        for (int64_t r = 0; r < rows; r += 2) {
            bfloat16* to[2];
            int count = int(std::min<int64_t>(2, rows - r));
            for (int i = 0; i < count; i++) to[i] = out + (r + i) * outs + b * 64;
            auto times = count == 2 ? rows_times_int4<2> : rows_times_int4<1>;
            times(&rounded[r], weight + b * in * 32, scales + b * 64, in, outs, own, to);
        }
    }
}

// A few rows, rounded to 8 bits token by token, times 8-bit weights in oneDNN's layout, [outs / 64][in / 4][64][4].
// An activation is stored as 128 more than it is, which the sums of the weights' rows take off again.
template <int ROWS>
void rows_times_int8(const uint8_t* const* x, const float* x_scales, const int8_t* block, int64_t in, const float* scales,
                     const int32_t* sums, const float* bias, bfloat16* const* out) {
    __m512i sum[ROWS][4] = {};
    for (int64_t p = 0; p < in / 4; p++) {
        __m512i weight[4];
        for (int v = 0; v < 4; v++) {
            __builtin_prefetch(block + (p + 24) * 256 + v * 64);
            weight[v] = _mm512_loadu_si512(block + p * 256 + v * 64);
        }
        for (int r = 0; r < ROWS; r++) {
            int32_t four;
            std::memcpy(&four, x[r] + 4 * p, 4);
            for (int v = 0; v < 4; v++) sum[r][v] = _mm512_dpbusd_epi32(sum[r][v], _mm512_set1_epi32(four), weight[v]);
        }
    }
    alignas(64) int32_t whole[64];
    for (int r = 0; r < ROWS; r++) {
        for (int v = 0; v < 4; v++) _mm512_store_si512(whole + v * 16, sum[r][v]);
        for (int o = 0; o < 64; o++)
            narrow(float(whole[o] - 128 * sums[o]) * scales[o] * x_scales[r] + (bias ? bias[o] : 0.0f), out[r][o]);
    }
}

void few_rows_int8(const bfloat16* x, int64_t rows, int64_t in, const int8_t* weight, const int32_t* sums,
                   const float* scales, int64_t outs, const float* bias, bfloat16* out, int64_t threads) {
    std::vector<uint8_t> rounded(size_t(rows) * in);
    std::vector<float> x_scales(rows);
    for (int64_t r = 0; r < rows; r++) {
        const bfloat16* from = x + r * in;
        float scale = x_scales[r] = scale_to_bytes(from, in);
        uint8_t* to = &rounded[r * in];
#pragma omp simd
        for (int64_t i = 0; i < in; i++) to[i] = uint8_t(int(widen(from[i]) / scale + 128.5f));
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t b = 0; b < outs / 64; b++) {
        for (int64_t r = 0; r < rows; r += 4) {
            const uint8_t* from[4];
            bfloat16* to[4];
            int count = int(std::min<int64_t>(4, rows - r));
            for (int i = 0; i < count; i++) from[i] = &rounded[(r + i) * in], to[i] = out + (r + i) * outs + b * 64;
            auto times = count == 4   ? rows_times_int8<4>
                         : count == 3 ? rows_times_int8<3>
                         : count == 2 ? rows_times_int8<2>
                                      : rows_times_int8<1>;
            times(from, &x_scales[r], weight + b * in * 64, in, scales + b * 64, sums + b * 64, bias ? bias + b * 64 : nullptr,
                  to);
        }
    }
}
#endif
#else
#define HAS_BFLOAT16_PRODUCTS 0
void few_rows(const bfloat16*, int64_t, int64_t, const bfloat16*, int64_t, const bfloat16*, bfloat16*, int64_t) {}
void full_attention(const bfloat16*, const bfloat16*, const bfloat16*, const int64_t*, int64_t, int64_t, int64_t,
                    int64_t, float, bfloat16*, int64_t) {}
void unpack_int4(const uint8_t*, const uint32_t*, int64_t, int64_t, int64_t, uint32_t*, int64_t) {}
void context_attention(const bfloat16*, const bfloat16*, const bfloat16*, const int64_t*, int64_t, const int64_t*,
                       const int64_t*, int64_t, int64_t, int64_t, int64_t, int64_t, float, int64_t, const float*,
                       bfloat16*, int64_t) {}
#endif

#ifndef HAS_INT8_PRODUCTS
#define HAS_INT8_PRODUCTS 0
void few_rows_int4(const bfloat16*, int64_t, int64_t, const uint8_t*, const uint32_t*, int64_t, const bfloat16*,
                   bfloat16*, int64_t) {}
void few_rows_int8(const bfloat16*, int64_t, int64_t, const int8_t*, const int32_t*, const float*, int64_t, const float*,
                   bfloat16*, int64_t) {}
#endif

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

// Whether context_attention_bf16, full_attention_bf16, few_rows_bf16 and unpack_int4_bf16 are there: they need the
// processor's bfloat16 products.
extern "C" int64_t has_bfloat16_products() { return HAS_BFLOAT16_PRODUCTS; }
extern "C" void context_attention_bf16(const bfloat16* q, const bfloat16* k, const bfloat16* v, const int64_t* loc,
                                       int64_t stride, const int64_t* lengths, const int64_t* counts, int64_t batch,
                                       int64_t heads, int64_t kv, int64_t dim, int64_t q_stride, float scale,
                                       int64_t window, const float* slopes, bfloat16* out, int64_t threads) {
    context_attention(q, k, v, loc, stride, lengths, counts, batch, heads, kv, dim, q_stride, scale, window, slopes,
                      out, threads);
}

extern "C" void full_attention_bf16(const bfloat16* q, const bfloat16* k, const bfloat16* v, const int64_t* strides,
                                    int64_t batch, int64_t tokens, int64_t heads, int64_t dim, float scale,
                                    bfloat16* out, int64_t threads) {
    full_attention(q, k, v, strides, batch, tokens, heads, dim, scale, out, threads);
}

extern "C" void few_rows_bf16(const bfloat16* x, int64_t rows, int64_t in, const bfloat16* weight, int64_t outs,
                              const bfloat16* bias, bfloat16* out, int64_t threads) {
    few_rows(x, rows, in, weight, outs, bias, out, threads);
}

extern "C" void unpack_int4_bf16(const uint8_t* weight, const uint32_t* scales, int64_t in, int64_t outs, int64_t blocks,
                                 uint32_t* to, int64_t threads) {
    unpack_int4(weight, scales, in, outs, blocks, to, threads);
}

// Whether few_rows_int4_bf16 and few_rows_int8_bf16 are there: they need the processor's byte products, too.
extern "C" int64_t has_int8_products() { return HAS_INT8_PRODUCTS; }
extern "C" void few_rows_int4_bf16(const bfloat16* x, int64_t rows, int64_t in, const uint8_t* weight,
                                   const uint32_t* scales, int64_t outs, const bfloat16* bias, bfloat16* out,
                                   int64_t threads) {
    few_rows_int4(x, rows, in, weight, scales, outs, bias, out, threads);
}

extern "C" void few_rows_int8_bf16(const bfloat16* x, int64_t rows, int64_t in, const int8_t* weight,
                                   const int32_t* sums, const float* scales, int64_t outs, const float* bias,
                                   bfloat16* out, int64_t threads) {
    few_rows_int8(x, rows, in, weight, sums, scales, outs, bias, out, threads);
}
