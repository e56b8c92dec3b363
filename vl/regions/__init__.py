"""Region extractors: pictures to region features."""
