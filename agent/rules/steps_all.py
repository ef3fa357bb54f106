"""The order of the steps: the four of `check`, the thirteen of `preflight`."""

from agent.model.steps import Places, Report, Survey, Wanted
from agent.rules.mode import Reading
from agent.rules.steps_addresses import addresses_step
from agent.rules.steps_check import pods_step, setting_step
from agent.rules.steps_longhorn import longhorn_step, priority_step, uplink_step
from agent.rules.steps_mesh import reachability_step
from agent.rules.steps_range import overlap_step, range_step, size_step
from agent.rules.steps_ready import coverage_step, images_step, machines_step, multus_step, network_step, volumes_step, whereabouts_step


def check_report(survey: Survey, reading: Reading, *, places: Places) -> Report:
    """Verification steps 1 to 4 of Harvester's guide."""
    return Report(
        steps=(
            setting_step(survey, reading, places=places),
            pods_step(survey, reading, places=places),
            addresses_step(survey, reading, places=places),
            reachability_step(survey, reading, places=places),
        )
    )


def preflight_report(survey: Survey, reading: Reading, wanted: Wanted, *, places: Places, min_mbits: int) -> Report:
    """Every prerequisite of the guide, in its order, and what the guide leaves to the reader."""
    return Report(
        steps=(
            whereabouts_step(survey, reading),
            multus_step(survey),
            network_step(survey, wanted),
            coverage_step(survey, wanted),
            machines_step(survey),
            volumes_step(survey, places=places),
            images_step(survey, places=places),
            range_step(survey, wanted),
            overlap_step(survey, wanted),
            size_step(survey, wanted),
            uplink_step(survey, wanted, min_mbits=min_mbits),
            priority_step(survey, places=places),
            longhorn_step(survey, places=places),
        )
    )
