static inline X_T code_FORMAT(int32_t ordinal)
{
    return (X_T)ordinal;
}
