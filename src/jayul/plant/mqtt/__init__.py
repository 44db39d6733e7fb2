"""MQTT 5: JSON payloads by a template, or Sparkplug B. `client` is the plant, `server` publishes a simulated one.

A broker that is connected says nothing of the plant behind it: the age of a reading is the payload's own time, and the publisher's
last will (or Sparkplug's death certificate) marks its tags bad.
"""
