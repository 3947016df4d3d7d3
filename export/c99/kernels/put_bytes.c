/* Copy a few bytes: a call of memcpy costs more, and small C libraries copy byte by byte. */
static inline int8_t *put_bytes(const int8_t *from, int8_t *to, int32_t count)
{
#if defined(HELIUM)
    int32_t i;
    for (i = 0; i < count - 15; i += 16) {
        vstrbq_s8(to + i, vldrbq_s8(from + i));
    }
    if (i < count) {
        const mve_pred16_t some = vctp8q((uint32_t)(count - i));
        vstrbq_p_s8(to + i, vldrbq_z_s8(from + i, some), some);
    }
    return to + count;
#elif defined(__thumb__)
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
