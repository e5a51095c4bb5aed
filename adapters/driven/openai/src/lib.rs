//! OpenAI Chat Completions and every endpoint compatible with it.
