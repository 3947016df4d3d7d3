/* The taps first..last-1 of a window that lie inside an axis of `size` elements when tap 0 lies at `start`. */
static inline void clip_window(int32_t start, int32_t size, int32_t taps, int32_t dilation, int32_t *first,
                               int32_t *last)
{
    *first = start < 0 ? (dilation - 1 - start) / dilation : 0;
    *last = start + (taps - 1) * dilation >= size ? (size - start + dilation - 1) / dilation : taps;
    *first = *first > taps ? taps : *first;
    *last = *last < *first ? *first : *last;
}
