"""The page that a blocked child sees, and the small page of the gateway itself.

`facts` what there is to say, `request` a strict reader of HTTP heads, `words` and `page` the text and its HTML,
`server` the sockets.
"""

from guardian.blockpage.facts import BlockInfo, DeviceInfo, LegalNotice, PageSettings, country_of
from guardian.blockpage.server import BlockPage

__all__ = ["BlockInfo", "BlockPage", "DeviceInfo", "LegalNotice", "PageSettings", "country_of"]
