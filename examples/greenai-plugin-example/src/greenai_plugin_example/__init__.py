"""A model format and a profiler for greenai, as a template for your own."""
