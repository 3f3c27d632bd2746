"""All kinds of domains, to be imported from one place."""

from smmu_sim.driver.domain import BlockedDomain, Domain, IdentityDomain
from smmu_sim.driver.nested_domain import NestedDomain
from smmu_sim.driver.nesting_domain import NestingDomain, PasidTableConfig, TableConfig
from smmu_sim.driver.stage1_domain import Stage1Domain
from smmu_sim.driver.stage2_domain import Stage2Domain

__all__ = ["BlockedDomain", "Domain", "IdentityDomain", "NestedDomain", "NestingDomain",
           "PasidTableConfig", "Stage1Domain", "Stage2Domain", "TableConfig"]
