static inline X_T code_FORMAT(int32_t ordinal)
{
    return (X_T)(ordinal < 0 ? SIGN_BIT - ordinal : ordinal);
}
