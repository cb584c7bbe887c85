//! A scripted source, a faulty sink and the conformance suites; behind feature `testing`.
