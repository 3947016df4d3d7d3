/* Copy a few bytes: a call of memcpy costs more, and small C libraries copy byte by byte. */
static inline int8_t *put_bytes(const int8_t *from, int8_t *to, int32_t count)
{
#if defined(__thumb__)
    for (; count >= 4; count -= 4) {
        memcpy(to, from, 4);
        from += 4;
        to += 4;
    }
    for (; count > 0; count--) {
        *to++ = *from++;
    }
    return to;
#else
    memcpy(to, from, (size_t)count);
    return to + count;
#endif
}

static inline int8_t *put_equal_bytes(int8_t *to, int32_t count, int32_t value)
{
    memset(to, value, (size_t)count);
    return to + count;
}
