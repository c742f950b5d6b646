//! Nothing of its own: the tests of this package hold ARCHITECTURE.md against
//! the code.
