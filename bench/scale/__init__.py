"""Measure what OVN's databases, northd and ovn-controllers do with many hosts; `scripts/bench scale` runs it.

It stands on private servers in a temporary directory. Of each host there is what a driver keeps running
towards Northbound, made by the product's own assembly; its Docker, its Open vSwitch and its links are
stand-ins.
"""
