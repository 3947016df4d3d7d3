/* Limit a value to -1..1. */
static inline float NAME(float value)
{
    return value < -1.0f ? -1.0f : value > 1.0f ? 1.0f : value;
}
