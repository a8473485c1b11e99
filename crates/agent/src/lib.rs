//! Sensor to rules to incident to response: wiring, journal, shutdown.
