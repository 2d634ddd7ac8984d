"""What a file says about itself: apart from the detector, and never mixed into its score.

Every finding has where it stands, what it claims, and what backs the claim.  Nothing found is "unknown"; it is
never a sign of a real picture, because all of this is lost by saving a picture once more.
"""

from nsnet_cli.provenance.read import ProvenanceReader

__all__ = ["ProvenanceReader"]
