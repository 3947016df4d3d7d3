"""Where energy comes from: meters, what they recorded, and energy per inference with its uncertainty."""

from devices.meters.meter import Probe as Probe
from devices.meters.meters import energy_reason as energy_reason
from devices.meters.meters import probe as probe
